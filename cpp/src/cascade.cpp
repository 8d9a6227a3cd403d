#include "cascade.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr const char* kConfidence = "confidence";

// Throws Error (backend) unless an engine gave outputs of these shapes, in the contract's types. The confidence may be
// missing.
void check_outputs(const Outputs& outputs, const std::map<std::string, Shape>& shapes) {
    for (const auto& [name, shape] : shapes) {
        const auto output = outputs.tensors.find(name);
        if (output == outputs.tensors.end() && name == kConfidence) {
            continue;  // engines laid out for a GPU and plans alone have it
        }
        if (output == outputs.tensors.end()) {
            fail(ErrorCode::backend, "an engine of this bundle has no output `", name, "`; export the bundle again");
        }
        const ElementType type = output->second.type;
        const Shape& given = output->second.shape;
        const bool precise = name == "logits" || name == kConfidence || name == "scores",
                   index = name == "positions" || name == "targets";
        const bool whole = type == ElementType::int64 || type == ElementType::uint8;
        if (given != shape || (precise ? type != ElementType::float32 : index ? type != ElementType::int64 : whole)) {
            fail(ErrorCode::backend, "the output `", name, "` of an engine has another shape or type than the ",
                 "manifest's geometry gives it; export the bundle again");
        }
    }
}

std::map<std::string, Shape> stage_one_shapes(std::int64_t batch, const Config& config) {
    const Geometry& geometry = config.geometry;
    const Shape tokens = {batch, geometry.tokens(), geometry.width};
    return {{"logits", {batch, geometry.classes}},
            {kConfidence, {batch, 2}},
            {"scores", {batch, geometry.tokens()}},
            {"features", tokens},
            {config.method.background, tokens}};
}

// Whether a shape fits an engine's input, where -1 on either side is any length.
bool fits(const Shape& given, const Shape& input) {
    return std::equal(given.begin(), given.end(), input.begin(), input.end(),
                      [](std::int64_t a, std::int64_t b) { return a == b || a < 0 || b < 0; });
}

}  // namespace

Cascade::Cascade(std::unique_ptr<Backend> backend, HeldFiles files, const Config& config)
    : config_(config),
      normalise_(scale_and_shift(config.preprocessing)),
      files_(std::move(files)),
      backend_(std::move(backend)) {
    const std::int64_t side = config.geometry.image_size, half = side / 2;
    if (backend_->memory() != nullptr && files_.count("view") > 0 && files_.count("gather") > 0) {
        view_ = open("view", {{"pictures", {-1, side, side, 3}}});
    }
    ee_ = open("ee", {{"image", {-1, 3, half, half}}});
}

// Input shapes are compared before the first image: memory for images of a wrong size may be more than there is.
std::unique_ptr<Engine> Cascade::open(const char* role, const std::map<std::string, Shape>& inputs) const {
    const auto weights = files_.find("weights");
    std::unique_ptr<Engine> engine =
        backend_->open(files_.at(role), weights == files_.end() ? nullptr : &weights->second);
    for (const TensorSpec& input : engine->inputs()) {
        const auto given = inputs.find(input.name);
        if (given != inputs.end() && !fits(given->second, input.shape)) {
            fail(ErrorCode::backend, files_.at(role).path, " takes `", input.name, "` of [", joined(input.shape),
                 "], the manifest's geometry gives [", joined(given->second), "]; export the bundle again");
        }
    }
    files_.erase(role);  // the engine has what it needs of it
    return engine;
}

void Cascade::open_stage_two() const {
    const std::lock_guard<std::mutex> lock(opening_);
    if (!sac_) {
        const Geometry& geometry = config_.geometry;
        if (view_) {
            const std::int64_t side = geometry.image_size;
            gather_ = open("gather", {{"pictures", {-1, side, side, 3}},
                                      {"scores", {-1, geometry.tokens()}},
                                      {"features", {-1, geometry.tokens(), geometry.width}},
                                      {"embeddings", {-1, geometry.tokens(), geometry.width}}});
        }
        sac_ = open("sac", {{"patches", {-1, -1, geometry.patch_values()}},
                            {"positions", {-1, -1}},
                            {"target_features", {-1, -1, geometry.width}},
                            {"background", {-1, -1, geometry.width}}});
        files_.clear();  // the backend keeps the weights that it reads in place
    }
}

Outputs Cascade::stage_one(const std::vector<float>& low, std::size_t size) const {
    const Geometry& geometry = config_.geometry;
    const auto batch = static_cast<std::int64_t>(size);
    const std::int64_t half = geometry.image_size / 2;
    Outputs out = ee_->run({{"image", {ElementType::float32, low.data(), {batch, 3, half, half}}}});
    check_outputs(out, stage_one_shapes(batch, config_));
    return out;
}

Outputs Cascade::stage_two(const StageTwoRequest& request, const std::vector<float>& patches) const {
    open_stage_two();
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

TensorView Cascade::view(const TensorView& pictures) const {
    const std::int64_t half = config_.geometry.image_size / 2;
    const Outputs out = view_->run({{"pictures", pictures}}, {"image"});
    check_outputs(out, {{"image", {pictures.shape[0], 3, half, half}}});
    return out.at("image");
}

Outputs Cascade::stage_one(const TensorView& view) const {
    Outputs out = ee_->run({{"image", view}}, {"scores", "features", "embeddings"});
    check_outputs(out, stage_one_shapes(view.shape[0], config_));
    return out;
}

Outputs Cascade::gather(const TensorView& pictures, const Outputs& stage_one, const std::vector<std::int64_t>& rows,
                        std::size_t count) const {
    open_stage_two();
    const Geometry& geometry = config_.geometry;
    const auto size = static_cast<std::int64_t>(rows.size()), targets = static_cast<std::int64_t>(count);
    // 0..N-1: its beginnings say how many targets, and how many other tokens, are wanted.
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(geometry.tokens()));
    std::iota(numbers.begin(), numbers.end(), 0);
    std::map<std::string, TensorView> inputs = stage_one.tensors;
    inputs["pictures"] = pictures;
    inputs["rows"] = {ElementType::int64, rows.data(), {size}};
    inputs["slots"] = {ElementType::int64, numbers.data(), {targets}};
    inputs["rest"] = {ElementType::int64, numbers.data(), {geometry.tokens() - targets}};
    Outputs out = gather_->run(inputs, {"patches", "positions", "target_features", "background"});
    check_outputs(out, {{"patches", {size, 4 * targets, geometry.patch_values()}},
                        {"positions", {size, 4 * targets}},
                        {"target_features", {size, targets, geometry.width}},
                        {"background", {size, geometry.tokens() - targets, geometry.width}},
                        {"targets", {size, targets}}});
    return out;
}

Outputs Cascade::stage_two(const std::map<std::string, TensorView>& inputs) const {
    Outputs out = sac_->run(inputs);
    check_outputs(out, {{"logits", {inputs.at("patches").shape[0], config_.geometry.classes}}});
    return out;
}

}  // namespace sacvit::detail
