#include "images/png_samples.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "images/image.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// Colour types.
constexpr int kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4;

void convert_grey(const PngSamples& stored, const std::uint8_t* from, std::uint8_t* to, int width) {
    for (int x = 0; x < width; ++x) {
        if (stored.depth == 16) {
            to[x] = static_cast<std::uint8_t>((from[2 * x] << 8 | from[2 * x + 1]) / 257);
            continue;
        }
        const unsigned scale = stored.depth == 1 ? 255 : stored.depth == 2 ? 85 : stored.depth == 4 ? 17 : 1;
        const unsigned value = from[x] * scale;
        to[x] = static_cast<std::uint8_t>(static_cast<int>(value) == stored.key[0] ? 255 : value);
    }
}

void lay_over_white(Rgb color, unsigned alpha, std::uint8_t* to) {
    to[0] = over_white(color.red, alpha);
    to[1] = over_white(color.green, alpha);
    to[2] = over_white(color.blue, alpha);
}

// Sets the alphas of a palette's entries. A first zero among nothing but 255 is how Python finds one transparent entry:
// it ignores a line break behind them.
void set_alphas(PngSamples& stored, std::string_view alphas) {
    const std::size_t zero = alphas.find('\0');
    if (!alphas.empty() && alphas.back() == '\n' && zero != alphas.npos &&
        alphas.substr(0, alphas.size() - 1).find_first_not_of('\xFF') == zero &&
        alphas.substr(zero + 1, alphas.size() - zero - 2).find_first_not_of('\xFF') == alphas.npos) {
        alphas.remove_suffix(1);
    }
    std::copy(alphas.begin(), alphas.end(), stored.alphas.begin());
}

}  // namespace

PngSamples describe(const PngChunks& chunks, const std::string& name) {
    PngSamples stored;
    stored.color = chunks.color;
    stored.depth = chunks.depth;
    stored.alphas.fill(255);
    if (chunks.palette.size() / 3 > stored.palette.size() || (chunks.color == kPalette && chunks.key.size() > 256)) {
        fail(ErrorCode::image, name, " is damaged or truncated (more than 256 colours in its palette)");
    }
    const auto byte = [](std::string_view data, std::size_t at) { return static_cast<std::uint8_t>(data[at]); };
    for (std::size_t at = 0; at + 3 <= chunks.palette.size(); at += 3) {
        stored.palette[at / 3] = {byte(chunks.palette, at), byte(chunks.palette, at + 1), byte(chunks.palette, at + 2)};
    }
    if (chunks.color == kPalette) {
        set_alphas(stored, chunks.key);
        return stored;
    }
    // Pillow compares a key's low byte with the scaled value, except in one-bit images.
    for (std::size_t i = 0; chunks.keyed && 2 * i + 1 < std::min<std::size_t>(chunks.key.size(), 6); ++i) {
        stored.key[i] = byte(chunks.key, 2 * i + 1);
    }
    if (chunks.keyed && chunks.depth == 1) {
        stored.key[0] = chunks.key[0] != 0 || chunks.key[1] != 0 ? 255 : 0;
    }
    return stored;
}

void convert_row(const PngSamples& stored, const std::uint8_t* from, std::uint8_t* to, int width) {
    if (stored.color == kGrey) {
        convert_grey(stored, from, to, width);
    } else if (stored.color == kGreyAlpha) {
        for (int x = 0; x < width; ++x) {
            to[x] = over_white(from[2 * x], from[2 * x + 1]);
        }
    } else if (stored.color == kPalette) {
        for (int x = 0; x < width; ++x, to += 3) {
            lay_over_white(stored.palette[from[x]], stored.alphas[from[x]], to);
        }
    } else if (stored.color == kRgb) {
        std::memcpy(to, from, 3 * static_cast<std::size_t>(width));
        for (int x = 0; stored.key[0] >= 0 && x < width; ++x, to += 3) {
            if (to[0] == stored.key[0] && to[1] == stored.key[1] && to[2] == stored.key[2]) {
                to[0] = to[1] = to[2] = 255;
            }
        }
    } else {
        for (int x = 0; x < width; ++x, from += 4, to += 3) {
            lay_over_white({from[0], from[1], from[2]}, from[3], to);
        }
    }
}

}  // namespace sacvit::detail
