// Camera formats against tests/golden/yuv.json: argv[1]. Planes apart and behind each other, upside down, copied.
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "check.hpp"
#include "files.hpp"
#include "images/frame.hpp"
#include "images/preprocess.hpp"
#include "images/yuv.hpp"
#include "made_up.hpp"

using namespace sacvit::detail;
using nlohmann::json;
using sacvit::ImageView;
using sacvit::PixelFormat;

namespace {

using Values = std::vector<std::uint8_t>;

const std::map<std::string, PixelFormat> kFormats{
    {"nv12", PixelFormat::nv12}, {"i420", PixelFormat::i420}, {"yuyv", PixelFormat::yuyv}};
const std::map<std::string, sacvit::YuvColors> kColors{{"bt601", sacvit::YuvColors::bt601},
                                                       {"bt601_full", sacvit::YuvColors::bt601_full},
                                                       {"bt709", sacvit::YuvColors::bt709},
                                                       {"bt709_full", sacvit::YuvColors::bt709_full}};

// Rows of `count` bytes each.
struct Packed {
    Values values;
    std::size_t count;
};

// The planes of an entry without gaps.
std::vector<Packed> planes(const json& entry, PixelFormat format) {
    const std::size_t width = entry["width"], height = entry["height"], half = (width + 1) / 2;
    const std::size_t rows = format == PixelFormat::yuyv ? height : (height + 1) / 2;
    const Values luma = made_up(width, height, 1), chroma = made_up(half, rows, 2);
    if (format == PixelFormat::nv12) {
        return {{luma, width}, {chroma, 2 * half}};
    }
    if (format == PixelFormat::yuyv) {
        Values out;
        for (std::size_t y = 0; y < height; ++y) {
            for (std::size_t x = 0; x < 2 * half; ++x) {
                out.push_back(x < width ? luma[y * width + x] : 7);  // 7: nobody's
                out.push_back(chroma[2 * (y * half + x / 2) + x % 2]);
            }
        }
        return {{out, 4 * half}};
    }
    Values u, v;
    for (std::size_t i = 0; i < chroma.size(); i += 2) {
        u.push_back(chroma[i]);
        v.push_back(chroma[i + 1]);
    }
    return {{luma, width}, {u, half}, {v, half}};
}

// The plane with bytes of nobody between its rows, which may stand from bottom to top.
Values spread(const Packed& plane, std::size_t gap, bool flipped) {
    const std::size_t rows = plane.values.size() / plane.count, pitch = plane.count + gap;
    Values out(rows * pitch, 99);
    for (std::size_t y = 0; y < rows; ++y) {
        std::copy_n(&plane.values[y * plane.count], plane.count, &out[(flipped ? rows - 1 - y : y) * pitch]);
    }
    return out;
}

std::string rgb_hash(const ImageView& view) {
    check_view(view, "the image");
    const Image rgb = rgb_of_yuv(view);
    return sha256({reinterpret_cast<const char*>(rgb.data.get()), rgb.size()});
}

void test_golden(const json& golden) {
    for (const json& entry : golden) {
        const PixelFormat format = kFormats.at(entry["format"]);
        const std::vector<Packed> all = planes(entry, format);
        ImageView view;
        view.width = entry["width"];
        view.height = entry["height"];
        view.format = format;
        view.colors = kColors.at(entry["colors"]);
        for (const bool flipped : {false, true}) {
            std::vector<Values> apart;
            for (std::size_t i = 0; i < all.size(); ++i) {
                apart.push_back(spread(all[i], i == 0 ? 5 : 3, flipped));
            }
            const auto pitch = [&](std::size_t plane) {
                const auto bytes = static_cast<std::ptrdiff_t>(all[plane].count) + (plane == 0 ? 5 : 3);
                return flipped ? -bytes : bytes;
            };
            const auto first = [&](std::size_t plane) {
                return flipped ? apart[plane].data() + apart[plane].size() + pitch(plane) : apart[plane].data();
            };
            view.data = first(0);
            view.pitch = pitch(0);
            view.u = all.size() > 1 ? first(1) : nullptr;
            view.v = all.size() > 2 ? first(2) : nullptr;
            view.chroma_pitch = all.size() > 1 ? pitch(1) : 0;
            EQUAL(rgb_hash(view), entry["sha256"], entry);
            // A copy of it, whose owner goes.
            sacvit::Source source = view;
            const Values copy = own(source, 1 << 20);
            apart.clear();
            EQUAL(rgb_hash(std::get<ImageView>(source)), entry["sha256"], entry);
        }
        if (format == PixelFormat::i420) {  // rows from below, and no pitch of the chroma: half of the luma's
            std::vector<Values> apart;
            for (const Packed& plane : all) {
                apart.push_back(spread(plane, 0, true));
            }
            const auto last = [&](std::size_t plane) {
                return apart[plane].data() + apart[plane].size() - all[plane].count;
            };
            view.data = last(0), view.u = last(1), view.v = last(2);
            view.pitch = -static_cast<std::ptrdiff_t>(all[0].count);
            view.chroma_pitch = 0;
            EQUAL(rgb_hash(view), entry["sha256"], entry);
        }
        if (view.height % 2 == 0 && view.width % 2 == 0) {  // one block of memory, as drivers give it
            Values block;
            for (const Packed& plane : all) {
                block.insert(block.end(), plane.values.begin(), plane.values.end());
            }
            const auto row = static_cast<std::ptrdiff_t>(all[0].count);
            EQUAL(rgb_hash({block.data(), view.width, view.height, row, format, view.colors}), entry["sha256"], entry);
        }
    }
}

// Resizing, which converts a few rows at a time, sees what it sees of the image in RGB: shrunk, enlarged, cut out from
// an odd column on, strips of which the middle is taken, and those that are averaged first.
void test_fit() {
    constexpr std::pair<std::size_t, std::size_t> kSizes[] = {{66, 48}, {67, 49},  {48, 67},    {9, 5},
                                                              {38, 37}, {601, 20}, {11, 1'000}, {70'001, 3}};
    for (const auto& [format, pixels] : kFormats) {
        for (const auto& [width, height] : kSizes) {
            const std::vector<Packed> all = planes({{"width", width}, {"height", height}}, pixels);
            const auto pitch = [&](std::size_t plane) { return static_cast<std::ptrdiff_t>(all[plane].count); };
            const ImageView view{all[0].values.data(),
                                 static_cast<int>(width),
                                 static_cast<int>(height),
                                 pitch(0),
                                 pixels,
                                 sacvit::YuvColors::bt709,
                                 all.size() > 1 ? all[1].values.data() : nullptr,
                                 all.size() > 2 ? all[2].values.data() : nullptr,
                                 all.size() > 1 ? pitch(1) : 0};
            const Image rgb = rgb_of_yuv(view);
            for (const char* const resize : {"shortest_edge", "squash"}) {
                Preprocessing recipe;
                recipe.resize = resize;
                CHECK(fit(view, 32, recipe, "the image") == fit(rgb.view(), 32, recipe, "the image"), format, " ",
                      width, "x", height, " ", resize);
            }
        }
    }
}

void test_refused() {
    const Values data(64, 128);
    const auto with = [&](ImageView view) { fit(view, 32, {}, "the image"); };
    REFUSES(usage, "where its chroma is isn't known", with({data.data(), 4, 3, 4, PixelFormat::nv12}));
    REFUSES(usage, "where its chroma is isn't known", with({data.data(), 4, 4, -4, PixelFormat::i420}));
    REFUSES(usage, "rows of 4 bytes of chroma, but a chroma_pitch of 3",
            with({data.data(), 3, 2, 3, PixelFormat::nv12}));
    REFUSES(usage, "rows of 3 pixels, but a pitch of 6", with({data.data(), 3, 2, 6, PixelFormat::yuyv}));
    REFUSES(usage, "unknown kind of YUV colors",
            with({data.data(), 4, 4, 4, PixelFormat::nv12, static_cast<sacvit::YuvColors>(4)}));
    sacvit::Source large = ImageView{data.data(), 4, 4, 4, PixelFormat::nv12};
    REFUSES(image, "over the limit of 15", own(large, 15));
}

}  // namespace

int main(int, char** argv) {
    std::ifstream file(argv[1]);
    test_golden(json::parse(file));
    test_fit();
    test_refused();
    return check::result();
}
