// How a camera was held: the orientation that an image file states.
#pragma once

#include <string_view>

#include "images/image.hpp"

namespace sacvit::detail {

// 1 to 8 as EXIF numbers them; 1 where nothing, nonsense, or a broken block says so. The XMP block counts where the
// EXIF block says nothing of the orientation.
int orientation(std::string_view exif, std::string_view xmp);

// The image as a viewer shows it. Orientations outside 2..8 change nothing.
Image upright(Image image, int orientation);

}  // namespace sacvit::detail
