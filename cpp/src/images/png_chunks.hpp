// The chunks of a PNG beside its pixels, read as the Python runtime's decoder reads them: the same files are refused,
// and nothing is set aside for what a chunk only claims to have.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

struct PngChunks {
    std::int64_t width = 0, height = 0;
    int depth = 0, color = -1;  // -1: none that PNG has
    bool interlaced = false;
    // The part of the image that the pixels fill, which an animation's first frame may state.
    bool framed = false;
    std::int64_t left = 0, top = 0, across = 0, down = 0;
    std::string_view palette;              // red, green, blue
    bool keyed = false;                    // whether there is a tRNS chunk
    std::string_view key;                  // its contents
    std::vector<std::string_view> pixels;  // pieces of a zlib stream
    bool cut = false;                      // the file ends inside the last of them
    std::string exif, xmp;                 // for orientation()
};

// Views are into `data`, which begins with the signature. Throws Error (image); `name` stands in messages.
PngChunks read_chunks(std::string_view data, const std::string& name);

}  // namespace sacvit::detail
