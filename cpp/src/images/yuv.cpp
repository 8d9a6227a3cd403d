#include "images/yuv.hpp"

#include <algorithm>
#include <array>

#include "images/frame.hpp"

namespace sacvit::detail {
namespace {

// Factors in 65536ths, with U and V around 0: R = y (Y - black) + red V, G = y (Y - black) - green_u U - green_v V,
// B = y (Y - black) + blue U. They follow from the shares of red and blue in luma that a standard defines, Kr and Kb:
// red = 2 (1 - Kr), blue = 2 (1 - Kb), green_u = blue Kb / Kg, green_v = red Kr / Kg. In the limited range luma has 219
// steps and chroma 224. As `matrix` in tests/golden/yuv.py.
struct Factors {
    std::int32_t black, y, red, green_u, green_v, blue;
};

constexpr std::array<Factors, 4> kFactors{{
    {16, 76309, 104597, 25675, 53279, 132201},  // BT.601, limited
    {0, 65536, 91881, 22553, 46802, 116130},    // BT.601, full
    {16, 76309, 117489, 13975, 34925, 138438},  // BT.709, limited
    {0, 65536, 103206, 12276, 30679, 121609},   // BT.709, full
}};

// Clamps by a look-up, which is faster than to compare: from kBelow below 0, as far as any of the factors reach.
constexpr std::int32_t kBelow = 384;
constexpr std::array<std::uint8_t, 1024> kClamped = [] {
    std::array<std::uint8_t, 1024> out{};
    for (std::int32_t i = 0; i < 1024; ++i) {
        const std::int32_t value = i - kBelow;
        out[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }
    return out;
}();

// The luma of a row and the chroma of its blocks. Below, `step` is bytes from a pixel's luma to the next one's,
// `chroma` those from a block's U or V to the next one's.
struct Rows {
    const std::uint8_t *y, *u, *v;
};

// Two pixels at a time, which share their chroma. `step` and `chroma` are template arguments, so that they are
// constants.
template <int step, int chroma>
void convert(const Rows rows, int width, const Factors factors, std::uint8_t* to) {
    const std::int32_t base = (kBelow << 16) + 32768 - factors.y * factors.black;  // halves are rounded up
    for (int x = 0; x < width; x += 2) {
        const std::int32_t u = rows.u[x / 2 * chroma] - 128, v = rows.v[x / 2 * chroma] - 128;
        const std::int32_t red = base + factors.red * v, blue = base + factors.blue * u;
        const std::int32_t green = base - factors.green_u * u - factors.green_v * v;
        for (int i = x; i < std::min(x + 2, width); ++i, to += 3) {
            const std::int32_t luma = factors.y * rows.y[i * step];
            to[0] = kClamped[static_cast<std::size_t>((luma + red) >> 16)];
            to[1] = kClamped[static_cast<std::size_t>((luma + green) >> 16)];
            to[2] = kClamped[static_cast<std::size_t>((luma + blue) >> 16)];
        }
    }
}

}  // namespace

void rgb_rows(const ImageView& view, int y, int rows, int begin, int end, std::uint8_t* out) {
    const auto [luma, first, second] = planes_of(view);
    const Factors& factors = kFactors[static_cast<std::size_t>(view.colors)];
    const int width = end - begin, block = begin / 2;
    for (const int last = y + rows; y < last; ++y, out += 3 * static_cast<std::ptrdiff_t>(width)) {
        const std::uint8_t* const row = luma.data + y * luma.pitch;
        if (view.format == PixelFormat::yuyv) {
            const std::uint8_t* const pair = row + 4 * static_cast<std::ptrdiff_t>(block);
            convert<2, 4>({pair, pair + 1, pair + 3}, width, factors, out);
        } else if (view.format == PixelFormat::nv12) {
            const std::uint8_t* const chroma =
                first.data + y / 2 * first.pitch + 2 * static_cast<std::ptrdiff_t>(block);
            convert<1, 2>({row + begin, chroma, chroma + 1}, width, factors, out);
        } else {
            const std::ptrdiff_t at = y / 2 * first.pitch + block;
            convert<1, 1>({row + begin, first.data + at, second.data + at}, width, factors, out);
        }
    }
}

Image rgb_of_yuv(const ImageView& view) {
    Image out(view.width, view.height, 3);
    rgb_rows(view, 0, view.height, 0, view.width, out.data.get());
    return out;
}

}  // namespace sacvit::detail
