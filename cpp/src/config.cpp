#include "config.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "text.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;
using Names = std::initializer_list<const char*>;

// No vision transformer comes near these sizes; beyond them a few bytes of JSON would ask for any amount of memory. An
// image of 8192 pixels a side takes 200 MB.
constexpr std::int64_t kLargestImage = 8192, kLargestPatch = 1024, kLargestWidth = 65'536, kMostClasses = 1 << 20;
constexpr std::int64_t kMostTokens = 65'536;
// Means and standard deviations are of values from 0 to 1, or to 255. Beyond these, normalised values leave fp32.
constexpr double kLeast = 0x1p-20, kMost = 0x1p20;
constexpr std::size_t kShown = 100;  // characters of a refused value, in the message

bool contains(const Names& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

// One section of the config, whose fields replace defaults where they are there.
class Section {
public:
    // Refuses fields that are not `known`: a method that has more choices gives other answers.
    Section(const json& manifest, const char* name, const Names& known) : data_(manifest.at(name)), name_(name) {
        for (const auto& [field, value] : data_.get_ref<const json::object_t&>()) {
            if (!contains(known, field)) {
                fail(ErrorCode::usage, "config: unknown field ", name, ".", field.substr(0, kShown));
            }
        }
    }

    void read_size(const char* field, std::int64_t& out, std::int64_t most) const {
        const json value = data_.value(field, json(out));
        out = value.is_number_integer() && value <= most ? value.get<std::int64_t>() : 0;
        check(out >= 1, field);
    }

    // A number, a text, or an array of numbers.
    template <typename Value>
    void read(const char* field, Value& out) const {
        try {
            out = data_.value(field, out);
        } catch (const json::exception&) {
            check(false, field);
        }
    }

    void read_choice(const char* field, std::string& out, const Names& choices) const {
        read(field, out);
        check(contains(choices, out), field);
    }

    // One number for each channel, of a size that images have.
    void read_channels(const char* field, std::array<double, 3>& out) const {
        read(field, out);
        check(data_.value(field, json(out)).size() == out.size(), field);
        check(std::all_of(out.begin(), out.end(), [](double v) { return std::fabs(v) <= kMost; }), field);
    }

    void check(bool good, const char* field) const {
        if (!good) {
            const std::string value = data_.value(field, json()).dump(-1, ' ', true, json::error_handler_t::replace);
            fail(ErrorCode::usage, "config: ", name_, ".", field, " can't be ", value.substr(0, kShown),
                 value.size() > kShown ? "..." : "");
        }
    }

private:
    const json& data_;
    const char* name_;
};

Geometry parse_geometry(const json& manifest) {
    Geometry out;
    const Section section(manifest, "geometry",
                          {"image_size", "patch_size", "width", "depth", "heads", "classes", "mlp_ratio", "norm_eps",
                           "registers", "pre_norm"});
    section.read_size("image_size", out.image_size, kLargestImage);
    section.read_size("patch_size", out.patch_size, kLargestPatch);
    section.read_size("width", out.width, kLargestWidth);
    section.read_size("classes", out.classes, kMostClasses);
    // The half-size image must have whole patches, and more than one of them a side.
    section.check(out.image_size % (2 * out.patch_size) == 0 && out.grid() >= 2, "image_size");
    section.check(out.tokens() <= kMostTokens, "patch_size");
    return out;
}

Method parse_method(const json& manifest) {
    Method out;
    const Section section(manifest, "method",
                          {"downsample", "positions", "score_first_block", "score_beta", "alpha", "rounding", "fusion",
                           "background", "class_token", "attention", "selection", "region_size"});
    section.read_choice("downsample", out.downsample, {"area", "bilinear_corners"});
    section.read("alpha", out.alpha);
    section.read_choice("rounding", out.rounding, {"floor", "ceil"});
    section.read_choice("background", out.background, {"embeddings", "features"});
    section.read_choice("selection", out.selection, {"top_m", "window"});
    section.read_size("region_size", out.region_size, kLargestImage);
    return out;
}

Preprocessing parse_preprocessing(const json& manifest) {
    Preprocessing out;
    const Section section(manifest, "preprocessing",
                          {"interpolation", "crop", "mean", "std", "resize", "resize_rounding"});
    section.read_choice("interpolation", out.interpolation, {"bicubic", "bilinear"});
    section.read_choice("resize", out.resize, {"shortest_edge", "squash"});
    section.read_choice("resize_rounding", out.resize_rounding, {"floor", "nearest"});
    section.read("crop", out.crop);
    section.check(out.crop >= 0.1 && out.crop <= 1.0, "crop");
    section.read_channels("mean", out.mean);
    section.read_channels("std", out.std);
    section.check(*std::min_element(out.std.begin(), out.std.end()) >= kLeast, "std");
    return out;
}

}  // namespace

Config parse_config(const json& manifest) {
    const Config config{parse_geometry(manifest), parse_method(manifest), parse_preprocessing(manifest)};
    const std::int64_t side = config.method.region_size, grid = config.geometry.grid();
    if (config.method.selection == "window" && side > grid) {
        fail(ErrorCode::usage, "config: method.region_size ", side, " is more than the ", grid,
             " low-res tokens a side");
    }
    config.num_targets();
    return config;
}

std::int64_t Config::num_targets(std::optional<double> alpha) const {
    const std::int64_t window = method.selection == "window" ? method.region_size * method.region_size : 0;
    return detail::num_targets(alpha.value_or(method.alpha), geometry.tokens(), method.rounding, window);
}

std::int64_t num_targets(double alpha, std::int64_t tokens, const std::string& rounding, std::int64_t window) {
    // All of a window may be targets: the tokens outside are the background. NaN, too, fails this.
    if (!(alpha > 0 && (alpha < 1 || (alpha == 1 && window > 0)))) {
        fail(ErrorCode::usage, "alpha is ", alpha, "; it must lie between 0 and 1, ",
             window > 0 ? "0 excluded" : "both excluded");
    }
    // Products that are whole but for float error count as whole.
    const double product = alpha * static_cast<double>(window > 0 ? window : tokens);
    const double count = rounding == "floor" ? std::floor(product + 1e-9) : std::ceil(product - 1e-9);
    if (!(count >= 1 && count < static_cast<double>(tokens))) {
        fail(ErrorCode::usage, "alpha ", alpha, " selects ", count, " of ", tokens,
             " tokens; it must select at least 1 and leave at least 1");
    }
    return static_cast<std::int64_t>(count);
}

double check_eta(double eta) {
    if (!(eta >= 0 && eta <= 1)) {
        fail(ErrorCode::usage, "eta is ", eta, "; it must lie between 0 and 1");
    }
    return eta;
}

}  // namespace sacvit::detail
