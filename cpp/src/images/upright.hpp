// Writes an image's rows so that it stands upright, without a second copy of it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "images/image.hpp"

namespace sacvit::detail {

class Upright {
public:
    // width, height: as stored. orientation: as EXIF numbers them; outside 2..8 it changes nothing.
    Upright(int width, int height, int channels, int orientation);

    // Where stored row y belongs; rows come in order. After it is written, `done` puts its pixels into their places.
    std::uint8_t* row(int y) noexcept;
    void done(int y) noexcept;
    Image take() { return std::move(image_); }

private:
    int width_, height_, channels_;
    bool sideways_, mirror_x_, mirror_y_;  // of the stored image
    Image image_;
    int rows_ = 0;                     // in a block
    std::vector<std::uint8_t> block_;  // stored rows that become columns, some at a time: single pixels are slow
};

}  // namespace sacvit::detail
