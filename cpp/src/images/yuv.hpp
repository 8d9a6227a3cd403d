// From luma and chroma, as cameras and video decoders give them, to RGB.
#pragma once

#include "images/image.hpp"

namespace sacvit::detail {

// Converts a view of a YUV format that was checked; each pixel has the chroma of its block, as it is.
Image rgb_of_yuv(const ImageView& view);

}  // namespace sacvit::detail
