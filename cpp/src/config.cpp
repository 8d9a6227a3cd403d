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

constexpr std::int64_t kLargest = 1 << 20;  // no network is larger; products of two sizes stay far inside 64 bits

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
                fail(ErrorCode::usage, "config: unknown field ", name, ".", field);
            }
        }
    }

    void read_size(const char* field, std::int64_t& out) const {
        const json value = data_.value(field, json(out));
        out = value.is_number_integer() ? value.get<std::int64_t>() : 0;
        check(out >= 1 && out <= kLargest, field);
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

    // One finite number for each channel.
    void read_channels(const char* field, std::array<double, 3>& out) const {
        read(field, out);
        check(data_.value(field, json(out)).size() == out.size(), field);
        check(std::all_of(out.begin(), out.end(), [](double v) { return std::fabs(v) < 1e300; }), field);
    }

    void check(bool good, const char* field) const {
        if (!good) {
            fail(ErrorCode::usage, "config: ", name_, ".", field, " can't be ",
                 data_.value(field, json()).dump(-1, ' ', true, json::error_handler_t::replace));
        }
    }

private:
    const json& data_;
    const char* name_;
};

Geometry parse_geometry(const json& manifest) {
    Geometry out;
    const Section section(manifest, "geometry",
                          {"image_size", "patch_size", "width", "depth", "heads", "classes", "mlp_ratio"});
    section.read_size("image_size", out.image_size);
    section.read_size("patch_size", out.patch_size);
    section.read_size("width", out.width);
    section.read_size("classes", out.classes);
    // The half-size image must have whole patches, and more than one of them a side.
    section.check(out.image_size % (2 * out.patch_size) == 0 && out.grid() >= 2, "image_size");
    return out;
}

Method parse_method(const json& manifest) {
    Method out;
    const Section section(manifest, "method",
                          {"downsample", "positions", "score_first_block", "score_beta", "alpha", "rounding", "fusion",
                           "background", "class_token", "attention"});
    section.read_choice("downsample", out.downsample, {"area", "bilinear_corners"});
    section.read("alpha", out.alpha);
    section.read_choice("rounding", out.rounding, {"floor", "ceil"});
    section.read_choice("background", out.background, {"embeddings", "features"});
    return out;
}

Preprocessing parse_preprocessing(const json& manifest) {
    Preprocessing out;
    const Section section(manifest, "preprocessing", {"interpolation", "crop", "mean", "std"});
    section.read_choice("interpolation", out.interpolation, {"bicubic", "bilinear"});
    section.read("crop", out.crop);
    section.check(out.crop >= 0.1 && out.crop <= 1.0, "crop");
    section.read_channels("mean", out.mean);
    section.read_channels("std", out.std);
    section.check(*std::min_element(out.std.begin(), out.std.end()) > 0, "std");
    return out;
}

}  // namespace

Config parse_config(const json& manifest) {
    const Config config{parse_geometry(manifest), parse_method(manifest), parse_preprocessing(manifest)};
    num_targets(config.method.alpha, config.geometry.tokens(), config.method.rounding);
    return config;
}

std::int64_t num_targets(double alpha, std::int64_t tokens, const std::string& rounding) {
    if (!(alpha > 0 && alpha < 1)) {  // NaN, too, fails this
        fail(ErrorCode::usage, "alpha is ", alpha, "; it must lie between 0 and 1, both excluded");
    }
    // Products that are whole but for float error count as whole.
    const double product = alpha * static_cast<double>(tokens);
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
