// Antialiased resizing of 8-bit images, equal to Pillow's to the last bit; its inner loop is in mix.cpp.
#pragma once

#include <cstddef>
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
// "bicubic" or "bilinear". The source's format is RGB, BGR, grey, or one of luma and chroma, of which a few rows at a
// time become RGB.
void resize(const ImageView& source, const Window& window, const std::string& filter, std::uint8_t* out);

constexpr int kFraction = 22;  // bits of a weight behind the point
constexpr int kLanes = 48;     // lanes that are best given at once, or a multiple of them

// The weights of the `count` input coordinates that one output coordinate is mixed from.
struct Weighted {
    const std::int32_t* weights;
    int count;
};

// Writes one byte for each of `lanes` lanes: the rounded weighted sum of the inputs, clamped to 0..255. `from` has the
// first input's lanes, and each next input's are `stride` bytes further.
using Mix = void (*)(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

// The fastest implementation for this processor; all give the same bytes.
Mix choose_mix();
// The implementation without special instructions.
void mix_plain(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

}  // namespace sacvit::detail
