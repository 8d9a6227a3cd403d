// The orientation that an image file states: how the camera was held.
#pragma once

#include <string_view>

#include "images/image.hpp"

namespace sacvit::detail {

// The orientation, 1 to 8 as EXIF numbers them; 1 where there is none, or a broken block. XMP counts where the EXIF
// block has no orientation.
int orientation(std::string_view exif, std::string_view xmp);

// Turns the image as a viewer shows it. Orientations outside 2..8 change nothing.
Image upright(Image image, int orientation);

}  // namespace sacvit::detail
