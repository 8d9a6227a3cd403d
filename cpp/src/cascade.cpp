#include "cascade.hpp"

#include <cstdint>
#include <utility>

#include "text.hpp"

namespace sacvit::detail {
namespace {

// Throws Error (backend) unless an engine gave outputs of these shapes, in the contract's types.
void check_outputs(const Outputs& outputs, const std::map<std::string, Shape>& shapes) {
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

}  // namespace

Cascade::Cascade(std::unique_ptr<Backend> backend, std::map<std::string, std::string> files, const Config& config)
    : config_(config),
      normalise_(scale_and_shift(config.preprocessing)),
      files_(std::move(files)),
      backend_(std::move(backend)),
      ee_(open("ee")) {}

std::unique_ptr<Engine> Cascade::open(const char* role) const {
    const auto weights = files_.find("weights");
    return backend_->open(files_.at(role), weights == files_.end() ? "" : weights->second);
}

Outputs Cascade::stage_one(const std::vector<float>& low, std::size_t size) const {
    const Geometry& geometry = config_.geometry;
    const auto batch = static_cast<std::int64_t>(size);
    const std::int64_t half = geometry.image_size / 2, tokens = geometry.tokens();
    Outputs out = ee_->run({{"image", {ElementType::float32, low.data(), {batch, 3, half, half}}}});
    check_outputs(out, {{"logits", {batch, geometry.classes}},
                        {"scores", {batch, tokens}},
                        {"features", {batch, tokens, geometry.width}},
                        {config_.method.background, {batch, tokens, geometry.width}}});
    return out;
}

Outputs Cascade::stage_two(const StageTwoRequest& request, const std::vector<float>& patches) const {
    {
        const std::lock_guard<std::mutex> lock(opening_);
        if (!sac_) {
            sac_ = open("sac");
        }
    }
    const Geometry& geometry = config_.geometry;
    const auto batch = static_cast<std::int64_t>(request.size);
    const std::int64_t targets = static_cast<std::int64_t>(request.targets.size()) / batch;
    const std::int64_t rest = geometry.tokens() - targets;
    Outputs out = sac_->run({
        {"patches", {ElementType::float32, patches.data(), {batch, 4 * targets, geometry.patch_values()}}},
        {"positions", {ElementType::int64, request.positions.data(), {batch, 4 * targets}}},
        {"target_features", {request.features_type, request.target_features.data(), {batch, targets, geometry.width}}},
        {"background", {request.background_type, request.background.data(), {batch, rest, geometry.width}}},
    });
    check_outputs(out, {{"logits", {batch, geometry.classes}}});
    return out;
}

}  // namespace sacvit::detail
