// Decodes files and their bytes, with limits checked before anything is decoded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "images/budget.hpp"
#include "images/image.hpp"

namespace sacvit::detail {

constexpr std::size_t kMaxFile = 256 << 20;  // bytes

// Decodes the JPEG or PNG file at `path`, the way a viewer shows it: EXIF rotation is applied, transparency is laid
// over white, 16 bits become 8. `share` gets what it takes, resizing included. Throws Error (image).
Image decode_file(const std::string& path, Share& share);

// Decodes a JPEG or PNG file in memory, as decode_file does; `name` stands in messages. Throws Error (image).
Image decode_bytes(std::string_view data, const std::string& name, Share& share);

// Throws Error (image) for images without pixels or with more than `limit`.
void check_size(std::int64_t width, std::int64_t height, const std::string& name, std::int64_t limit);

// Decode one format; `data` begins with the format's signature. Throw Error (image).
Image decode_jpeg(std::string_view data, const std::string& name, Share& share);
Image decode_png(std::string_view data, const std::string& name, Share& share);

// The orientation, 1 to 8 as EXIF numbers them; 1 where there is none, or a broken block. XMP counts where the EXIF
// block has no orientation.
int orientation(std::string_view exif, std::string_view xmp);

}  // namespace sacvit::detail
