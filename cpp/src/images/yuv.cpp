#include "images/yuv.hpp"

#include <algorithm>
#include <array>

#include "images/frame.hpp"

namespace sacvit::detail {
namespace {

// Factors in 65536ths: R = y (Y - black) + red V, G = y (Y - black) - green_u U - green_v V, B = y (Y - black) + blue
// U, with U and V around 0. From the luma of red and blue that a standard defines, Kr and Kb: red = 2 (1 - Kr), blue =
// 2 (1 - Kb), green_u = blue Kb / Kg, green_v = red Kr / Kg; in the limited range luma has 219 steps, chroma 224. As
// `yuv_factors` in tests/golden/arithmetic.py.
struct Factors {
    std::int32_t black, y, red, green_u, green_v, blue;
};

constexpr std::array<Factors, 4> kFactors{{
    {16, 76309, 104597, 25675, 53279, 132201},  // BT.601, limited
    {0, 65536, 91881, 22553, 46802, 116130},    // BT.601, full
    {16, 76309, 117489, 13975, 34925, 138438},  // BT.709, limited
    {0, 65536, 103206, 12276, 30679, 121609},   // BT.709, full
}};

std::uint8_t byte(std::int32_t value) {
    return static_cast<std::uint8_t>(std::clamp((value + 32768) >> 16, 0, 255));  // >> of a negative rounds down
}

// `step`: bytes from a pixel's luma to the next one's; `chroma`: from a block's U or V to the next one's.
struct Rows {
    const std::uint8_t *y, *u, *v;
    int step, chroma;
};

void convert(const Rows& rows, int width, const Factors& factors, std::uint8_t* to) {
    for (int x = 0; x < width; ++x, to += 3) {
        const std::int32_t luma = factors.y * (rows.y[x * rows.step] - factors.black);
        const std::int32_t u = rows.u[x / 2 * rows.chroma] - 128, v = rows.v[x / 2 * rows.chroma] - 128;
        to[0] = byte(luma + factors.red * v);
        to[1] = byte(luma - factors.green_u * u - factors.green_v * v);
        to[2] = byte(luma + factors.blue * u);
    }
}

}  // namespace

Image rgb_of_yuv(const ImageView& view) {
    const auto [luma, first, second] = planes_of(view);
    const Factors& factors = kFactors[static_cast<std::size_t>(view.colors)];
    Image out(view.width, view.height, 3);
    for (int y = 0; y < view.height; ++y) {
        const std::uint8_t* const row = luma.data + y * luma.pitch;
        Rows rows{row, row + 1, row + 3, 2, 4};  // Y U Y V
        if (view.format == PixelFormat::nv12) {
            const std::uint8_t* const chroma = first.data + y / 2 * first.pitch;
            rows = {row, chroma, chroma + 1, 1, 2};
        } else if (view.format == PixelFormat::i420) {
            rows = {row, first.data + y / 2 * first.pitch, second.data + y / 2 * second.pitch, 1, 1};
        }
        convert(rows, view.width, factors, out.row(y));
    }
    return out;
}

}  // namespace sacvit::detail
