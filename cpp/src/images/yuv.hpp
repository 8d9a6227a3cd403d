// From luma and chroma, as cameras and video decoders give them, to RGB.
#pragma once

#include "images/image.hpp"

namespace sacvit::detail {

// Converts columns begin..end-1 of the rows y..y+rows-1 of a view of a YUV format that was checked; `begin` is even.
// Each pixel has the chroma of its block, as it is. `out` gets RGB, rows without gaps.
void rgb_rows(const ImageView& view, int y, int rows, int begin, int end, std::uint8_t* out);

// Converts all of it.
Image rgb_of_yuv(const ImageView& view);

}  // namespace sacvit::detail
