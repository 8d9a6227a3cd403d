#include "contract.hpp"

#include "errors.hpp"

namespace sacvit::detail {

Shapes stage_one_inputs(const Config& config, std::int64_t batch) {
    const std::int64_t half = config.geometry.image_size / 2;
    return {{"image", {batch, 3, half, half}}};
}

Shapes stage_one_outputs(const Config& config, std::int64_t batch) {
    const Geometry& geometry = config.geometry;
    const Shape tokens{batch, geometry.tokens(), geometry.width};
    return {{"logits", {batch, geometry.classes}},
            {"scores", {batch, geometry.tokens()}},
            {"features", tokens},
            {config.method.background, tokens}};
}

Shapes stage_two_inputs(const Config& config, std::int64_t batch, std::int64_t targets) {
    const Geometry& geometry = config.geometry;
    return {{"patches", {batch, 4 * targets, geometry.patch_values()}},
            {"positions", {batch, 4 * targets}},
            {"target_features", {batch, targets, geometry.width}},
            {"background", {batch, geometry.tokens() - targets, geometry.width}}};
}

Shapes stage_two_outputs(const Config& config, std::int64_t batch) {
    return {{"logits", {batch, config.geometry.classes}}};
}

void check_outputs(const Outputs& outputs, const Shapes& shapes) {
    for (const auto& [name, shape] : shapes) {
        const auto output = outputs.tensors.find(name);
        if (output == outputs.tensors.end()) {
            fail(ErrorCode::backend, "an engine of this bundle has no output `", name, "`; export the bundle again");
        }
        const auto& [type, data, given] = output->second;
        const bool precise = name == "logits" || name == "scores";
        if (given != shape || (precise ? type != ElementType::float32 : type == ElementType::int64)) {
            fail(ErrorCode::backend, "the output `", name, "` of an engine has another shape or type than the ",
                 "manifest's geometry gives it; export the bundle again");
        }
    }
}

}  // namespace sacvit::detail
