#include "config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "errors.hpp"

namespace sacvit::detail {
namespace {

using nlohmann::json;

constexpr double kFloatLimit = 1e300;
constexpr std::int64_t kLargest = 1 << 20;  // no network is larger; products of two sizes stay far inside 64 bits

[[noreturn]] void wrong(const std::string& where, const json& value) {
    fail(ErrorCode::usage, "config: ", where, " can't be ", value.dump(-1, ' ', true, json::error_handler_t::replace));
}

// One section of the config: takes its fields by name, then refuses what is left.
class Section {
public:
    Section(const json& manifest, const char* name) : data_(manifest.at(name)), name_(name) {
        if (!data_.is_object()) {
            fail(ErrorCode::usage, "config: ", name, " must be an object");
        }
    }

    void take(const char* field, std::int64_t& out) {
        if (const json* value = find(field)) {
            if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > kLargest) ||
                value->get<std::int64_t>() > kLargest) {
                wrong(where(field), *value);
            }
            out = value->get<std::int64_t>();
        }
    }

    void take(const char* field, double& out) {
        if (const json* value = find(field)) {
            out = real(field, *value);
        }
    }

    void take(const char* field, std::array<double, 3>& out) {
        if (const json* value = find(field)) {
            if (!value->is_array() || value->size() != 3) {
                fail(ErrorCode::usage, name_, ": ", field, " must be three finite numbers, not ", value->dump());
            }
            std::transform(value->begin(), value->end(), out.begin(), [&](const json& v) { return real(field, v); });
        }
    }

    void take(const char* field, std::string& out, std::initializer_list<const char*> allowed) {
        if (const json* value = find(field)) {
            if (!value->is_string()) {
                wrong(where(field), *value);
            }
            out = value->get<std::string>();
            if (std::none_of(allowed.begin(), allowed.end(), [&](const char* one) { return out == one; })) {
                std::string names;
                for (const char* one : allowed) {
                    names += (names.empty() ? "" : ", ") + std::string(one);
                }
                fail(ErrorCode::usage, name_, ": ", field, " is '", out, "'; it must be one of ", names);
            }
        }
    }

    // A field that may be null.
    void take(const char* field, std::optional<std::int64_t>& out) {
        const auto found = data_.find(field);
        if (found != data_.end() && found->is_null()) {
            ++taken_;
        } else if (found != data_.end()) {
            std::int64_t value = 0;
            take(field, value);
            out = value;
        }
    }

    void finish(std::initializer_list<const char*> fields) const {
        if (taken_ == data_.size()) {
            return;
        }
        for (const auto& [key, value] : data_.items()) {
            if (std::find(fields.begin(), fields.end(), key) == fields.end()) {
                fail(ErrorCode::usage, "config: unknown field ", name_, ".", key);
            }
        }
    }

private:
    const json* find(const char* field) {
        const auto found = data_.find(field);
        taken_ += found != data_.end();
        return found == data_.end() ? nullptr : &*found;
    }

    double real(const char* field, const json& value) const {
        if (!value.is_number() || !(std::fabs(value.get<double>()) < kFloatLimit)) {
            wrong(where(field), value);
        }
        return value.get<double>();
    }

    std::string where(const char* field) const { return std::string(name_) + "." + field; }

    const json& data_;
    const char* name_;
    std::size_t taken_ = 0;
};

Geometry parse_geometry(const json& manifest) {
    Geometry out;
    Section section(manifest, "geometry");
    const std::pair<const char*, std::int64_t*> sizes[] = {
        {"image_size", &out.image_size}, {"patch_size", &out.patch_size}, {"width", &out.width},
        {"depth", &out.depth},           {"heads", &out.heads},           {"classes", &out.classes}};
    for (const auto& [name, value] : sizes) {
        section.take(name, *value);
    }
    section.take("mlp_ratio", out.mlp_ratio);
    section.finish({"image_size", "patch_size", "width", "depth", "heads", "classes", "mlp_ratio"});
    for (const auto& [name, value] : sizes) {
        if (*value < 1) {
            fail(ErrorCode::usage, "geometry: ", name, " must be positive, not ", *value);
        }
    }
    if (out.image_size % (2 * out.patch_size)) {
        fail(ErrorCode::usage, "geometry: image size ", out.image_size, " is not a multiple of twice the patch size (",
             2 * out.patch_size, "), so a half-size picture has no whole patches");
    }
    if (std::nearbyint(static_cast<double>(out.width) * out.mlp_ratio) < 1) {
        fail(ErrorCode::usage, "geometry: mlp_ratio ", number(out.mlp_ratio), " leaves no channels inside the MLP");
    }
    if (out.width % out.heads) {
        fail(ErrorCode::usage, "geometry: width ", out.width, " does not divide into ", out.heads, " heads");
    }
    if (out.grid() < 2) {
        fail(ErrorCode::usage, "geometry: fewer than 2x2 low-res tokens leave nothing to select");
    }
    return out;
}

Method parse_method(const json& manifest, std::int64_t depth) {
    Method out;
    std::string ignored;
    double beta = 0.99;
    std::optional<std::int64_t> first;
    Section section(manifest, "method");
    section.take("downsample", out.downsample, {"area", "bilinear_corners"});
    section.take("positions", ignored, {"shared", "separate"});
    section.take("score_first_block", first);
    section.take("score_beta", beta);
    section.take("alpha", out.alpha);
    section.take("rounding", out.rounding, {"floor", "ceil"});
    section.take("fusion", ignored, {"repeat", "expand", "none"});
    section.take("background", out.background, {"embeddings", "features"});
    section.take("class_token", ignored, {"mean", "union"});
    section.take("attention", ignored, {"clustered", "global"});
    section.finish({"downsample", "positions", "score_first_block", "score_beta", "alpha", "rounding", "fusion",
                    "background", "class_token", "attention"});
    if (!(out.alpha > 0 && out.alpha < 1)) {
        fail(ErrorCode::usage, "method: alpha is ", number(out.alpha), "; it must lie between 0 and 1, both excluded");
    }
    if (!(beta >= 0 && beta < 1)) {
        fail(ErrorCode::usage, "method: score_beta is ", number(beta), "; it must be at least 0 and below 1");
    }
    const std::int64_t block = first.value_or(depth / 4);
    if (block < 0 || block >= depth) {
        fail(ErrorCode::usage, "method: score_first_block ", block, " lies outside the ", depth, " blocks");
    }
    return out;
}

Preprocessing parse_preprocessing(const json& manifest) {
    Preprocessing out;
    Section section(manifest, "preprocessing");
    section.take("interpolation", out.interpolation, {"bicubic", "bilinear"});
    section.take("crop", out.crop);
    section.take("mean", out.mean);
    section.take("std", out.std);
    section.finish({"interpolation", "crop", "mean", "std"});
    if (!(out.crop >= 0.1 && out.crop <= 1.0)) {
        fail(ErrorCode::usage, "preprocessing: crop is ", number(out.crop), "; it must be between 0.1 and 1");
    }
    if (*std::min_element(out.std.begin(), out.std.end()) <= 0) {
        fail(ErrorCode::usage, "preprocessing: std must be positive");
    }
    return out;
}

}  // namespace

Config parse_config(const json& manifest) {
    Config config;
    config.geometry = parse_geometry(manifest);
    config.method = parse_method(manifest, config.geometry.depth);
    config.preprocessing = parse_preprocessing(manifest);
    num_targets(config.method.alpha, config.geometry.tokens(), config.method.rounding);
    return config;
}

std::int64_t num_targets(double alpha, std::int64_t tokens, const std::string& rounding) {
    if (!(alpha > 0 && alpha < 1)) {  // NaN, too, fails this
        fail(ErrorCode::usage, "alpha is ", number(alpha), "; it must lie between 0 and 1, both excluded");
    }
    // Products that are whole but for float error count as whole.
    const double product = alpha * static_cast<double>(tokens);
    const double count = rounding == "floor" ? std::floor(product + 1e-9) : std::ceil(product - 1e-9);
    if (!(count >= 1 && count < static_cast<double>(tokens))) {
        fail(ErrorCode::usage, "alpha ", number(alpha), " selects ", static_cast<std::int64_t>(count), " of ", tokens,
             " tokens; it must select at least 1 and leave at least 1");
    }
    return static_cast<std::int64_t>(count);
}

double check_eta(double eta) {
    if (!(eta >= 0 && eta <= 1)) {
        fail(ErrorCode::usage, "eta is ", number(eta), "; it must lie between 0 and 1");
    }
    return eta;
}

}  // namespace sacvit::detail
