#include "images/preprocess.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "images/decode.hpp"
#include "images/frame.hpp"
#include "images/resize.hpp"
#include "images/yuv.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr int kMaxSide = 65'536;  // px that are squashed: a longer strip costs too much memory
constexpr int kMaxAspect = 16;    // only the middle of a longer strip is resized: the crop would drop its ends anyway

// RGBA or BGRA laid over white, as RGB.
Image flatten(const ImageView& view) {
    Image out(view.width, view.height, 3);
    const bool bgr = view.format == PixelFormat::bgra;
    for (int y = 0; y < view.height; ++y) {
        const std::uint8_t* from = view.data + y * view.pitch;
        std::uint8_t* to = out.row(y);
        for (int x = 0; x < view.width; ++x, from += 4, to += 3) {
            for (int channel = 0; channel < 3; ++channel) {
                to[channel] = over_white(from[bgr ? 2 - channel : channel], from[3]);
            }
        }
    }
    return out;
}

// Means of 2x2 pixels; the sums are exact in fp32.
void mean_of_four(const std::uint8_t* image, int size, const Normalise& normalise, float* out) {
    const int half = size / 2;
    const std::ptrdiff_t pitch = 3 * static_cast<std::ptrdiff_t>(size);
    for (int y = 0; y < half; ++y) {
        const std::uint8_t* upper = image + 2 * y * pitch;
        const std::uint8_t* lower = upper + pitch;
        for (int channel = 0; channel < 3; ++channel) {
            float* to = out + (static_cast<std::ptrdiff_t>(channel) * half + y) * half;
            const float scale = normalise.scale[channel], shift = normalise.shift[channel];
            for (int x = 0; x < half; ++x) {
                const std::uint8_t *a = upper + 6 * x + channel, *b = lower + 6 * x + channel;
                to[x] = static_cast<float>(a[0] + a[3] + b[0] + b[3]) * 0.25f * scale + shift;
            }
        }
    }
}

// Bilinear with aligned corners, as CF-ViT and LF-ViT do.
void bilinear_corners(const std::uint8_t* image, int size, const Normalise& normalise, float* out) {
    const int half = size / 2;
    const std::ptrdiff_t pitch = 3 * static_cast<std::ptrdiff_t>(size);
    const double step = static_cast<double>(size - 1) / (half - 1);
    std::vector<int> low(half);
    std::vector<float> share(half);
    for (int i = 0; i < half; ++i) {
        low[i] = std::min(static_cast<int>(std::floor(i * step)), size - 2);
        share[i] = static_cast<float>(i * step - low[i]);
    }
    const auto lerp = [](float a, float b, float t) { return a * (1 - t) + b * t; };
    for (int y = 0; y < half; ++y) {
        const std::uint8_t* upper = image + low[y] * pitch;
        const std::uint8_t* lower = upper + pitch;
        const float down = share[y];
        for (int channel = 0; channel < 3; ++channel) {
            float* to = out + (static_cast<std::ptrdiff_t>(channel) * half + y) * half;
            const float scale = normalise.scale[channel], shift = normalise.shift[channel];
            for (int x = 0; x < half; ++x) {
                const std::uint8_t *a = upper + 3 * low[x] + channel, *b = lower + 3 * low[x] + channel;
                to[x] = lerp(lerp(a[0], b[0], down), lerp(a[3], b[3], down), share[x]) * scale + shift;
            }
        }
    }
}

// Whether `middle` or `shortened` may take something away.
bool is_strip(const ImageView& view) {
    const std::int64_t longer = std::max(view.width, view.height), shorter = std::min(view.width, view.height);
    return longer > std::min<std::int64_t>(kMaxSide, kMaxAspect * shorter);
}

// The middle of a strip longer than kMaxAspect.
ImageView middle(ImageView view) {
    std::int64_t limit = static_cast<std::int64_t>(kMaxAspect) * std::min(view.width, view.height);
    if (const std::int64_t longer = std::max(view.width, view.height); longer > limit) {
        limit += (longer - limit) % 2;  // removes an even number of pixels, so that the centre stays the centre
        const int width = static_cast<int>(std::min<std::int64_t>(view.width, limit));
        const int height = static_cast<int>(std::min<std::int64_t>(view.height, limit));
        view.data += (view.height - height) / 2 * view.pitch + (view.width - width) / 2 * pixel_bytes(view.format);
        view.width = width;
        view.height = height;
    }
    return view;
}

// Means of `factor` neighbours along the longer side, in the view's format, rounded as Pillow's reduce() does. What
// remains is lost at the two ends.
Image shortened(const ImageView& view, int factor) {
    const bool wide = view.width > view.height;
    const int channels = pixel_bytes(view.format), length = std::max(view.width, view.height);
    Image out(wide ? length / factor : view.width, wide ? view.height : length / factor, channels);
    const std::ptrdiff_t next = wide ? channels : view.pitch;  // from a pixel to its neighbour, in bytes
    const std::uint8_t* first = view.data + length % factor / 2 * next;
    const auto share = static_cast<std::uint32_t>(4294967296.0f / (256.0f * static_cast<float>(factor)));
    for (int y = 0; y < out.height; ++y) {
        std::uint8_t* to = out.row(y);
        const std::uint8_t* row = first + (wide ? y : static_cast<std::ptrdiff_t>(y) * factor) * view.pitch;
        for (int x = 0; x < out.width; ++x, row += channels * (wide ? factor : 1)) {
            for (int channel = 0; channel < channels; ++channel) {
                std::uint32_t sum = static_cast<std::uint32_t>(factor) / 2;
                for (int i = 0; i < factor; ++i) {
                    sum += row[i * next + channel];
                }
                *to++ = static_cast<std::uint8_t>((sum * share) >> 24);
            }
        }
    }
    return out;
}

}  // namespace

int resized_side(int size, const Preprocessing& preprocessing) {
    const double side = size / preprocessing.crop;
    // nearbyint rounds halves to even, as Python does.
    return static_cast<int>(preprocessing.resize_rounding == "floor" ? std::floor(side) : std::nearbyint(side));
}

Pixels fit(const ImageView& image, int size, const Preprocessing& preprocessing, const std::string& name) {
    check_view(image, name);
    Image flat;
    ImageView view = image;
    if (is_yuv(view.format) ? is_strip(view) : pixel_bytes(view.format) == 4) {
        flat = is_yuv(view.format) ? rgb_of_yuv(view) : flatten(view);
        view = flat.view();
    }
    Image means;
    if (preprocessing.resize == "shortest_edge") {
        view = middle(view);
    } else if (const int factor = (std::max(view.width, view.height) + kMaxSide - 1) / kMaxSide; factor > 1) {
        means = shortened(view, factor);
        const PixelFormat format = view.format;
        view = means.view();
        view.format = format;
    }
    const int resized = resized_side(size, preprocessing), shorter = std::min(view.width, view.height);
    const auto scaled = [&](int length) {
        return preprocessing.resize == "squash"
                   ? resized
                   : static_cast<int>(static_cast<std::int64_t>(resized) * length / shorter);
    };
    Window window{scaled(view.width), scaled(view.height), 0, 0, size, size};
    window.left = static_cast<int>(std::nearbyint((window.full_width - size) / 2.0));
    window.top = static_cast<int>(std::nearbyint((window.full_height - size) / 2.0));
    Pixels out(3 * static_cast<std::size_t>(size) * static_cast<std::size_t>(size));
    resize(view, window, preprocessing.interpolation, out.data());
    return out;
}

Normalise scale_and_shift(const Preprocessing& preprocessing) {
    Normalise out{};
    for (std::size_t c = 0; c < 3; ++c) {
        out.scale[c] = static_cast<float>(1.0 / (255.0 * preprocessing.std[c]));
        out.shift[c] = static_cast<float>(-preprocessing.mean[c] / preprocessing.std[c]);
    }
    return out;
}

void low_view(const std::uint8_t* image, int size, const std::string& downsample, const Normalise& normalise,
              float* out) {
    (downsample == "area" ? mean_of_four : bilinear_corners)(image, size, normalise, out);
}

}  // namespace sacvit::detail
