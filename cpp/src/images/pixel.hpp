// Arithmetic of single 8-bit values, rounded as Pillow rounds it.
#pragma once

#include <cstdint>

namespace sacvit::detail {

// value / 255, rounded, for products of two bytes.
inline unsigned over_255(unsigned value) {
    value += 128;
    return ((value >> 8) + value) >> 8;
}

// A value with that alpha laid over white. Pillow blends with seven more bits and rounds once.
inline std::uint8_t over_white(unsigned value, unsigned alpha) {
    const unsigned sum = value * alpha * 128 + 255 * (255 - alpha) * 128 + (128u << 7);
    return static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

// From CMYK to RGB: the light that one colour's ink and the black ink leave.
inline std::uint8_t under_ink(unsigned ink, unsigned black) {
    const unsigned paper = 255 - black;
    return static_cast<std::uint8_t>(paper - over_255(ink * paper));
}

}  // namespace sacvit::detail
