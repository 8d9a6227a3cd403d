// Images of pixels that somebody else owns: how they lie in memory, and copies of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Rows of bytes, `pitch` bytes apart.
struct Plane {
    const std::uint8_t* data = nullptr;
    std::ptrdiff_t pitch = 0;
    std::ptrdiff_t row_bytes = 0;
    int rows = 0;
};

// Whether the format is one of luma and chroma.
bool is_yuv(PixelFormat format);

// Bytes for a pixel of a format that is not.
int pixel_bytes(PixelFormat format);

// Throws Error for a view that is no image; `name` stands in messages.
void check_view(const ImageView& view, const std::string& name);

// The planes of a view that was checked; those it does not have are empty. NV12's second has U and V in turn.
std::array<Plane, 3> planes_of(const ImageView& view);

// Copies the bytes or pixels that a source refers to, and lets it refer to the copy; nothing for a path. Throws Error
// for an image that is none, or that has more than `max_pixels`.
std::vector<std::uint8_t> own(Source& source, std::int64_t max_pixels);

}  // namespace sacvit::detail
