// Two passes, columns first, each rounded to 8 bits; weights are fixed-point numbers with 22 bits behind the point.
//
// Both passes run over lanes that lie side by side in memory and share their weights, so that the compiler can use
// vector instructions: the vertical pass over a row's values, the horizontal pass over a block of rows that is first
// turned so that its columns are contiguous. The turning is also where the source's pitch and format are read.
#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sacvit::detail {
namespace {

constexpr int kBits = 22;   // of the weights' fraction

constexpr int kBlock = 48;  // lanes that are computed together; long enough for compilers to see a vector loop

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

double triangle(double x) {
    x = std::fabs(x);
    return x < 1 ? 1 - x : 0;
}

// One output value for each of `count` lanes, `stride` bytes from one input coordinate's lanes to the next.
inline __attribute__((always_inline)) void mix_lanes(const std::uint8_t* from, std::size_t stride, const Tap& tap,
                                                     std::uint8_t* to, int count) {
    int lane = 0;
    for (; lane + kBlock <= count; lane += kBlock) {
        std::int32_t sums[kBlock];
        for (std::int32_t& sum : sums) {
            sum = 1 << (kBits - 1);
        }
        const std::uint8_t* source = from + lane;
        for (const std::int32_t weight : tap.weights) {
            for (int i = 0; i < kBlock; ++i) {
                sums[i] += weight * source[i];
            }
            source += stride;
        }
        for (int i = 0; i < kBlock; ++i) {
            to[lane + i] = static_cast<std::uint8_t>(std::min(std::max(sums[i] >> kBits, 0), 255));
        }
    }
    for (; lane < count; ++lane) {
        std::int32_t sum = 1 << (kBits - 1);
        const std::uint8_t* source = from + lane;
        for (const std::int32_t weight : tap.weights) {
            sum += weight * *source;
            source += stride;
        }
        to[lane] = static_cast<std::uint8_t>(std::min(std::max(sum >> kBits, 0), 255));
    }
}

using Mix = void (*)(const std::uint8_t*, std::size_t, const Tap&, std::uint8_t*, int);

void mix_plain(const std::uint8_t* from, std::size_t stride, const Tap& tap, std::uint8_t* to, int count) {
    mix_lanes(from, stride, tap, to, count);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void mix_avx2(const std::uint8_t* from, std::size_t stride, const Tap& tap,
                                              std::uint8_t* to, int count) {
    mix_lanes(from, stride, tap, to, count);
}
#endif

Mix choose_mix() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        return mix_avx2;
    }
#endif
    return mix_plain;
}

// Where a pixel's channels are, and how far the next pixel is.
struct Layout {
    explicit Layout(PixelFormat format)
        : step(format == PixelFormat::gray ? 1 : 3),
          red(format == PixelFormat::bgr ? 2 : 0),
          green(step == 1 ? 0 : 1),
          blue(step == 1 ? 0 : 2 - red) {}
    int step, red, green, blue;
};

// The window of a picture that has its size already.
void cut(const ImageView& source, const Window& window, std::uint8_t* out) {
    const Layout at(source.format);
    for (int y = window.top; y < window.top + window.height; ++y) {
        const std::uint8_t* from = source.data + y * source.pitch + static_cast<std::ptrdiff_t>(window.left) * at.step;
        for (int x = 0; x < window.width; ++x, from += at.step, out += 3) {
            out[0] = from[at.red];
            out[1] = from[at.green];
            out[2] = from[at.blue];
        }
    }
}

// Columns begin..end of the `rows` rows from y on, as [column][row][channel], kBlock bytes a column.
template <int kStep>
void turn(const ImageView& source, int y, int rows, int begin, int end, std::uint8_t* out) {
    const std::uint8_t* first = source.data + y * source.pitch + static_cast<std::ptrdiff_t>(begin) * kStep;
    for (int x = begin; x < end; ++x, first += kStep, out += kBlock) {
        const std::uint8_t* from = first;
        std::uint8_t* to = out;
        for (int row = 0; row < rows; ++row, from += source.pitch, to += kStep) {
            std::memcpy(to, from, kStep);
        }
    }
}

}  // namespace

std::vector<Tap> taps(int from, int to, int begin, int count, const std::string& filter) {
    double (*const kernel)(double) = filter == "bicubic" ? bicubic : triangle;
    const double scale = static_cast<double>(from) / to;
    const double stretch = std::max(scale, 1.0);  // shrinking widens the filter: that is the antialiasing
    const double support = (filter == "bicubic" ? 2.0 : 1.0) * stretch;
    const double inverse = 1.0 / stretch;
    std::vector<Tap> out;
    std::vector<double> weights;
    for (int at = begin; at < begin + count; ++at) {
        if (from == to) {
            out.push_back({at, {1 << kBits}});  // this pass changes nothing
            continue;
        }
        const double centre = (at + 0.5) * scale;
        const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
        const int last = std::min(static_cast<int>(centre + support + 0.5), from);
        double sum = 0;
        weights.clear();
        for (int x = first; x < last; ++x) {
            weights.push_back(kernel((x - centre + 0.5) * inverse));
            sum += weights.back();
        }
        Tap tap{first, {}};
        for (double weight : weights) {
            weight = (sum != 0 ? weight / sum : weight) * (1 << kBits);
            tap.weights.push_back(static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
        }
        out.push_back(std::move(tap));
    }
    return out;
}

void resize(const ImageView& source, const Window& window, const std::string& filter, std::uint8_t* out) {
    if (window.full_width == source.width && window.full_height == source.height) {
        cut(source, window, out);
        return;
    }
    static const Mix mix = choose_mix();
    const std::vector<Tap> columns = taps(source.width, window.full_width, window.left, window.width, filter);
    const std::vector<Tap> lines = taps(source.height, window.full_height, window.top, window.height, filter);
    const auto end = [](const Tap& tap) { return tap.first + static_cast<int>(tap.weights.size()); };
    const int left = columns.front().first, right = end(columns.back());
    const int top = lines.front().first, bottom = end(lines.back());
    const std::size_t row_bytes = 3 * static_cast<std::size_t>(window.width);

    const Layout at(source.format);
    const int block_rows = kBlock / at.step;
    std::vector<std::uint8_t> turned(static_cast<std::size_t>(right - left) * kBlock);
    std::vector<std::uint8_t> narrow(static_cast<std::size_t>(bottom - top) * row_bytes);
    std::uint8_t mixed[kBlock];
    for (int y = top; y < bottom; y += block_rows) {
        const int rows = std::min(block_rows, bottom - y);
        (at.step == 1 ? turn<1> : turn<3>)(source, y, rows, left, right, turned.data());
        for (int x = 0; x < window.width; ++x) {
            const Tap& tap = columns[static_cast<std::size_t>(x)];
            mix(turned.data() + static_cast<std::ptrdiff_t>(tap.first - left) * kBlock, kBlock, tap, mixed, kBlock);
            std::uint8_t* to = narrow.data() + static_cast<std::size_t>(y - top) * row_bytes + 3 * x;
            const std::uint8_t* from = mixed;
            for (int row = 0; row < rows; ++row, to += row_bytes, from += at.step) {
                to[0] = from[at.red];
                to[1] = from[at.green];
                to[2] = from[at.blue];
            }
        }
    }
    for (int y = 0; y < window.height; ++y) {
        const Tap& tap = lines[static_cast<std::size_t>(y)];
        mix(narrow.data() + static_cast<std::size_t>(tap.first - top) * row_bytes, row_bytes, tap,
            out + static_cast<std::size_t>(y) * row_bytes, static_cast<int>(row_bytes));
    }
}

}  // namespace sacvit::detail
