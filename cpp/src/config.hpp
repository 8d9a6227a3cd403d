// The parts of a bundle's config that a runtime reads. Fields and values as in sacvit_deploy/config.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace sacvit::detail {

struct Geometry {
    std::int64_t image_size = 224;  // S, pixels
    std::int64_t patch_size = 16;   // P, pixels
    std::int64_t width = 384;       // D, channels of a token
    std::int64_t classes = 1000;    // C

    std::int64_t grid() const { return image_size / (2 * patch_size); }  // g: low-res tokens a side
    std::int64_t tokens() const { return grid() * grid(); }              // N
    std::int64_t patch_values() const { return 3 * patch_size * patch_size; }
};

struct Method {
    std::string downsample = "area";        // or bilinear_corners
    double alpha = 0.5;                     // of the low-res tokens, or of the window's
    std::string rounding = "floor";         // of that share; or ceil
    std::string background = "embeddings";  // or features
    std::string selection = "top_m";        // or window
    std::int64_t region_size = 5;           // tokens a side of that window
};

struct Preprocessing {
    std::string interpolation = "bicubic";  // or bilinear
    double crop = 0.875;
    std::array<double, 3> mean{0.485, 0.456, 0.406};
    std::array<double, 3> std{0.229, 0.224, 0.225};
    std::string resize = "shortest_edge";     // or squash: both sides
    std::string resize_rounding = "nearest";  // of S / crop, as before the field; or floor, which bundles now say
};

struct Config {
    Geometry geometry;
    Method method;
    Preprocessing preprocessing;

    // M at an alpha, the model's unless given. Throws Error (usage) unless 1 <= M < N.
    std::int64_t num_targets(std::optional<double> alpha = std::nullopt) const;
};

// Reads a manifest's three sections. What only the exporter reads is not checked again. Throws Error (usage) for values
// that the runtime can't work with and for unknown fields, and what the JSON library throws for a missing section.
Config parse_config(const nlohmann::ordered_json& manifest);

// M, the number of target tokens among `tokens`: alpha of them, or of the `window` tokens that all targets come from
// (0: no window), rounded as the method says. Throws Error (usage) unless 1 <= M < N.
std::int64_t num_targets(double alpha, std::int64_t tokens, const std::string& rounding, std::int64_t window = 0);

// Returns eta. Throws Error (usage) unless it lies in [0, 1].
double check_eta(double eta);

}  // namespace sacvit::detail
