#include "images/upright.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sacvit::detail {
namespace {

constexpr int kRows = 16;        // in a block of ordinary images
constexpr int kBlock = 1 << 20;  // pixels in a block, at least one row

}  // namespace

Upright::Upright(int width, int height, int channels, int orientation)
    : width_(width),
      height_(height),
      channels_(channels),
      sideways_(orientation >= 5 && orientation <= 8),
      mirror_x_(orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8),
      mirror_y_(orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7),
      image_(sideways_ ? height : width, sideways_ ? width : height, channels) {
    if (sideways_) {
        rows_ = std::clamp(kBlock / width, 1, kRows);
        block_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(channels * rows_));
    }
}

std::uint8_t* Upright::row(int y) noexcept {
    if (sideways_) {
        return block_.data() + block_.size() / static_cast<std::size_t>(rows_) * static_cast<std::size_t>(y % rows_);
    }
    return image_.row(mirror_y_ ? height_ - 1 - y : y);
}

void Upright::done(int y) noexcept {
    const auto channels = static_cast<std::size_t>(channels_);
    if (!sideways_) {
        std::uint8_t* const line = row(y);
        for (int left = 0, right = width_ - 1; mirror_x_ && left < right; ++left, --right) {
            std::swap_ranges(line + static_cast<std::size_t>(left) * channels,
                             line + static_cast<std::size_t>(left + 1) * channels,
                             line + static_cast<std::size_t>(right) * channels);
        }
        return;
    }
    if (y % rows_ != rows_ - 1 && y != height_ - 1) {
        return;
    }
    const int first = y - y % rows_;
    for (int x = 0; x < width_; ++x) {
        std::uint8_t* const line = image_.row(mirror_x_ ? width_ - 1 - x : x);
        for (int from = first; from <= y; ++from) {
            std::memcpy(line + static_cast<std::size_t>(mirror_y_ ? height_ - 1 - from : from) * channels,
                        row(from) + static_cast<std::size_t>(x) * channels, channels);
        }
    }
}

}  // namespace sacvit::detail
