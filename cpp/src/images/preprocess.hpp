// Resizing, cropping, the half-size view, normalisation. As sacvit_deploy/images/preprocess.py.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "config.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

using Pixels = std::vector<std::uint8_t>;  // [S,S,3] RGB

// S / crop in whole pixels: what the shorter side becomes, or, squashed, both sides. S is `size`.
int resized_side(int size, const Preprocessing& preprocessing);

// Resizes the shorter side, or both, to `resized_side` and cuts out the centre S x S. `name` stands in messages. Throws
// Error (image).
Pixels fit(const ImageView& image, int size, const Preprocessing& preprocessing, const std::string& name);

// Per-channel factor and offset that turn 0..255 into normalised values.
struct Normalise {
    std::array<float, 3> scale, shift;
};
Normalise scale_and_shift(const Preprocessing& preprocessing);

// [S,S,3] uint8 -> [3,S/2,S/2] normalised, the input of stage 1. `downsample` is "area" or "bilinear_corners".
void low_view(const std::uint8_t* image, int size, const std::string& downsample, const Normalise& normalise,
              float* out);

}  // namespace sacvit::detail
