// Antialiased resizing of 8-bit images, equal to Pillow's to the last bit.
#pragma once

#include <cstdint>
#include <string>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// A part of a resized image: columns left..left+width-1 of an image scaled to `full_width` columns, and rows
// likewise. In pixels.
struct Window {
    int full_width, full_height;
    int left, top, width, height;
};

// Resizes and crops at once, computing the window's pixels alone; `out` gets [height, width, 3] RGB. `filter` is
// "bicubic" or "bilinear". The source's format is RGB, BGR or grey.
void resize(const ImageView& source, const Window& window, const std::string& filter, std::uint8_t* out);

}  // namespace sacvit::detail
