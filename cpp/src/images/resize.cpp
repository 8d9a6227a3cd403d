// Two passes, columns first, each rounded to 8 bits; weights are fixed-point numbers with 22 bits behind the point.
//
// Both passes run over lanes that lie side by side in memory and share their weights, so that vector instructions can
// be used (mix.cpp): the vertical pass over a row's values, the horizontal pass over a block of rows that is transposed
// first, so that its columns are contiguous. Transposing also reads the source's pitch and format.
#include "images/resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "images/frame.hpp"
#include "images/yuv.hpp"

namespace sacvit::detail {
namespace {

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

// The inputs and weights of the output coordinates begin..begin+count-1.
class Taps {
public:
    Taps(int from, int to, int begin, int count, const std::string& filter);

    int first(int at) const { return taps_[static_cast<std::size_t>(at)].first; }
    Weighted how(int at) const {
        const Tap& tap = taps_[static_cast<std::size_t>(at)];
        return {weights_.data() + tap.place, tap.count};
    }
    // The range of input coordinates that all outputs together need.
    int begin() const { return taps_.front().first; }
    int end() const { return taps_.back().first + taps_.back().count; }

private:
    struct Tap {
        int first, count;
        std::size_t place;
    };
    std::vector<Tap> taps_;
    std::vector<std::int32_t> weights_;  // of all outputs, one after the other
};

Taps::Taps(int from, int to, int begin, int count, const std::string& filter) {
    double (*const kernel)(double) = filter == "bicubic" ? bicubic : triangle;
    const double scale = static_cast<double>(from) / to;
    const double stretch = std::max(scale, 1.0);  // shrinking widens the filter, which is the antialiasing
    const double support = (filter == "bicubic" ? 2.0 : 1.0) * stretch;
    const double inverse = 1.0 / stretch;
    std::vector<double> weights;
    taps_.reserve(static_cast<std::size_t>(count));
    for (int at = begin; at < begin + count; ++at) {
        if (from == to) {
            taps_.push_back({at, 1, weights_.size()});  // this pass copies
            weights_.push_back(1 << kFraction);
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
        taps_.push_back({first, last - first, weights_.size()});
        for (double weight : weights) {
            weight = (sum != 0 ? weight / sum : weight) * (1 << kFraction);
            weights_.push_back(static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
        }
    }
}

// Offsets of a pixel's channels, and of the next pixel, in bytes.
struct Layout {
    explicit Layout(PixelFormat format)
        : step(format == PixelFormat::gray ? 1 : 3),
          red(format == PixelFormat::bgr ? 2 : 0),
          green(step == 1 ? 0 : 1),
          blue(step == 1 ? 0 : 2 - red) {}
    int step, red, green, blue;
};

// Parts of an image as RGB, BGR or grey: where they are, or converted into memory for a few rows.
class Parts {
public:
    // Of the columns begin..end-1, and one more in front of them, perhaps.
    Parts(const ImageView& source, int begin, int end, int most_rows)
        : source_(source), begin_(is_yuv(source.format) ? begin / 2 * 2 : begin), end_(end) {
        if (is_yuv(source.format)) {
            converted_.resize(3 * static_cast<std::size_t>(end_ - begin_) * static_cast<std::size_t>(most_rows));
        }
    }

    int begin() const { return begin_; }

    // The rows y..y+rows-1. A view of converted ones is good until the next call.
    ImageView rows(int y, int rows) {
        ImageView out = source_;
        out.width = end_ - begin_;
        out.height = rows;
        if (converted_.empty()) {
            out.data += y * out.pitch + static_cast<std::ptrdiff_t>(begin_) * pixel_bytes(out.format);
            return out;
        }
        rgb_rows(source_, y, rows, begin_, end_, converted_.data());
        return {converted_.data(), out.width, rows, 3 * static_cast<std::ptrdiff_t>(out.width), PixelFormat::rgb};
    }

private:
    ImageView source_;
    int begin_, end_;
    std::vector<std::uint8_t> converted_;
};

// Copies the window from an image that needs no resizing.
void crop(const ImageView& source, const Window& window, std::uint8_t* out) {
    const Layout at(source.format);
    Parts parts(source, window.left, window.left + window.width, 1);
    for (int y = window.top; y < window.top + window.height; ++y) {
        const std::uint8_t* from =
            parts.rows(y, 1).data + static_cast<std::ptrdiff_t>(window.left - parts.begin()) * at.step;
        for (int x = 0; x < window.width; ++x, from += at.step, out += 3) {
            out[0] = from[at.red];
            out[1] = from[at.green];
            out[2] = from[at.blue];
        }
    }
}

// Transposes a part of an image to [column][row][channel], kLanes bytes a column.
template <int kStep>
void transpose(const ImageView& part, std::uint8_t* out) {
    const std::uint8_t* first = part.data;
    const auto column = [&](auto bytes) {
        const std::uint8_t* from = first;
        std::uint8_t* to = out;
        for (int row = 0; row < part.height; ++row, from += part.pitch, to += kStep) {
            std::memcpy(to, from, bytes);
        }
        first += kStep;
        out += kLanes;
    };
    // Four bytes are one move, three are two. The fourth is the next pixel's, and is overwritten by the next copy.
    for (int x = 0; x < part.width - 1; ++x) {
        column(std::integral_constant<std::size_t, kStep == 3 ? 4 : 1>());
    }
    column(std::integral_constant<std::size_t, kStep>());  // the memory may end behind the last pixel
}

// Writes one column of mixed pixels into `rows` rows, red first; `to` has a byte to spare behind each row.
void place(const std::uint8_t* from, const Layout& at, int rows, std::uint8_t* to, std::size_t pitch) {
    if (at.step == 3 && at.red == 0) {
        for (int row = 0; row < rows; ++row, to += pitch, from += 3) {
            std::memcpy(to, from, 4);  // the fourth byte is overwritten, as in `transpose`
        }
        return;
    }
    for (int row = 0; row < rows; ++row, to += pitch, from += at.step) {
        to[0] = from[at.red];
        to[1] = from[at.green];
        to[2] = from[at.blue];
    }
}

}  // namespace

void resize(const ImageView& source, const Window& window, const std::string& filter, std::uint8_t* out) {
    if (window.full_width == source.width && window.full_height == source.height) {
        crop(source, window, out);
        return;
    }
    static const Mix mix = choose_mix();
    const Taps columns(source.width, window.full_width, window.left, window.width, filter);
    const Taps lines(source.height, window.full_height, window.top, window.height, filter);
    const int top = lines.begin();
    const std::size_t row_bytes = 3 * static_cast<std::size_t>(window.width), pitch = row_bytes + 1;

    const Layout at(source.format);
    const int block_rows = kLanes / at.step;
    Parts parts(source, columns.begin(), columns.end(), block_rows);
    std::vector<std::uint8_t> transposed(static_cast<std::size_t>(columns.end() - parts.begin()) * kLanes);
    std::vector<std::uint8_t> narrow(static_cast<std::size_t>(lines.end() - top) * pitch);
    std::uint8_t mixed[kLanes + 1] = {};
    for (int y = top; y < lines.end(); y += block_rows) {
        const int rows = std::min(block_rows, lines.end() - y);
        (at.step == 1 ? transpose<1> : transpose<3>)(parts.rows(y, rows), transposed.data());
        std::uint8_t* to = narrow.data() + static_cast<std::size_t>(y - top) * pitch;
        for (int x = 0; x < window.width; ++x, to += 3) {
            mix(transposed.data() + static_cast<std::ptrdiff_t>(columns.first(x) - parts.begin()) * kLanes, kLanes,
                columns.how(x), mixed, kLanes);
            place(mixed, at, rows, to, pitch);
        }
    }
    for (int y = 0; y < window.height; ++y) {
        mix(narrow.data() + static_cast<std::size_t>(lines.first(y) - top) * pitch, pitch, lines.how(y),
            out + static_cast<std::size_t>(y) * row_bytes, static_cast<int>(row_bytes));
    }
}

}  // namespace sacvit::detail
