// A decoded image in memory.
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

}  // namespace sacvit::detail
