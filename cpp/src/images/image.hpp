// A decoded image in memory, and arithmetic of its 8-bit values, rounded as Pillow rounds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Pixels of one (grey) or three (RGB) 8-bit channels, row after row without gaps.
struct Image {
    Image() = default;
    Image(int width_, int height_, int channels_)
        : width(width_), height(height_), channels(channels_), data(new std::uint8_t[size()]) {}

    int width = 0;
    int height = 0;
    int channels = 0;
    std::unique_ptr<std::uint8_t[]> data;  // left uninitialised by the constructor

    std::size_t pitch() const { return static_cast<std::size_t>(width) * static_cast<std::size_t>(channels); }
    std::size_t size() const { return pitch() * static_cast<std::size_t>(height); }
    std::uint8_t* row(int y) { return data.get() + static_cast<std::size_t>(y) * pitch(); }
    const std::uint8_t* row(int y) const { return data.get() + static_cast<std::size_t>(y) * pitch(); }

    ImageView view() const {
        return {data.get(), width, height, static_cast<std::ptrdiff_t>(pitch()),
                channels == 1 ? PixelFormat::gray : PixelFormat::rgb};
    }
};

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
