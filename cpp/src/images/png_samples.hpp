// From a PNG's samples to pixels, so that every depth and kind of transparency comes out as in Python.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "images/png_chunks.hpp"

namespace sacvit::detail {

struct Rgb {
    std::uint8_t red, green, blue;
};

// How the stored samples are to be read.
struct PngSamples {
    int color = 0;
    int depth = 0;
    std::array<Rgb, 256> palette{};
    std::array<std::uint8_t, 256> alphas{};  // of the palette's entries
    int key[3] = {-1, -1, -1};               // the colour that is transparent: of grey, or red, green, blue
};

// Throws Error (image); `name` stands in messages.
PngSamples describe(const PngChunks& chunks, const std::string& name);

// Converts a row of samples, one byte for each, two for 16-bit grey, to grey or RGB.
void convert_row(const PngSamples& stored, const std::uint8_t* from, std::uint8_t* to, int width);

}  // namespace sacvit::detail
