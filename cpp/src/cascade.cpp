#include "cascade.hpp"

#include <cstdint>
#include <utility>

#include "contract.hpp"

namespace sacvit::detail {

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
    const auto batch = static_cast<std::int64_t>(size);
    const Shapes inputs = stage_one_inputs(config_, batch);
    Outputs out = ee_->run({{"image", {ElementType::float32, low.data(), inputs.at("image")}}});
    check_outputs(out, stage_one_outputs(config_, batch));
    return out;
}

Outputs Cascade::stage_two(const StageTwoRequest& request, const std::vector<float>& patches) const {
    {
        const std::lock_guard<std::mutex> lock(opening_);
        if (!sac_) {
            sac_ = open("sac");
        }
    }
    const auto batch = static_cast<std::int64_t>(request.size);
    const Shapes inputs = stage_two_inputs(config_, batch, static_cast<std::int64_t>(request.targets.size()) / batch);
    const auto view = [&](const char* name, ElementType type, const void* data) {
        return std::pair<const std::string, TensorView>{name, {type, data, inputs.at(name)}};
    };
    Outputs out = sac_->run({
        view("patches", ElementType::float32, patches.data()),
        view("positions", ElementType::int64, request.positions.data()),
        view("target_features", request.features_type, request.target_features.data()),
        view("background", request.background_type, request.background.data()),
    });
    check_outputs(out, stage_two_outputs(config_, batch));
    return out;
}

}  // namespace sacvit::detail
