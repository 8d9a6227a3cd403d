#include <limits>
#include <memory>
#include <utility>

#include "confidence.hpp"
#include "glue.hpp"
#include "stages/stages.hpp"

namespace sacvit::detail {
namespace {

const float* floats(const Outputs& outputs, const char* name) {
    return static_cast<const float*>(outputs.at(name).data);
}

// As sacvit_deploy/stages/host.py.
class HostStages final : public Stages {
public:
    HostStages(const Cascade& cascade, std::size_t count) : cascade_(cascade), count_(count) {}

    StageAnswers stage_one(const std::vector<const Pixels*>& images, Clock& clock) override {
        const Config& config = cascade_.config();
        const Geometry& geometry = config.geometry;
        const auto side = static_cast<std::size_t>(geometry.image_size);
        const auto classes = static_cast<std::size_t>(geometry.classes), tokens = tokens_of(config);
        const std::size_t view = 3 * (side / 2) * (side / 2);
        std::vector<float> low(images.size() * view);
        for (std::size_t row = 0; row < images.size(); ++row) {
            low_view(images[row]->data(), static_cast<int>(side), config.method.downsample, cascade_.normalise(),
                     &low[row * view]);
        }
        clock.lap(&Timing::glue);
        images_ = images;
        ee_ = cascade_.stage_one(low, images.size());
        clock.lap(&Timing::ee);
        const float *const logits = floats(ee_, "logits"), *const scores = floats(ee_, "scores");
        std::vector<float> out(logits, logits + images.size() * classes);
        for (std::size_t row = 0; row < images.size(); ++row) {
            // Row by row: an image on which the variant overflows must not cost the others their answers.
            if (!finite(scores + row * tokens, tokens)) {
                out[row * classes] = std::numeric_limits<float>::quiet_NaN();
            }
        }
        return {std::move(out), {}};
    }

    void queue(const std::vector<std::size_t>& rows, Clock& clock) override {
        const Config& config = cascade_.config();
        const float* const scores = floats(ee_, "scores");
        for (const std::size_t row : rows) {
            request_.add(*images_[row], ee_, row, choose_targets(scores + row * tokens_of(config), count_, config),
                         config);
        }
        images_.clear();
        ee_ = {};
        clock.lap(&Timing::glue);
    }

    StageTwoAnswers stage_two(std::size_t size, Clock& clock) override {
        StageTwoRequest request = request_.take(size);
        const auto patches = normalised_patches(request, cascade_.config().geometry, cascade_.normalise());
        clock.lap(&Timing::glue);
        const Outputs out = cascade_.stage_two(request, patches);
        clock.lap(&Timing::sac);
        const float* const logits = floats(out, "logits");
        return {{logits, logits + out.at("logits").count()}, std::move(request.targets)};
    }

private:
    static std::size_t tokens_of(const Config& config) { return static_cast<std::size_t>(config.geometry.tokens()); }

    const Cascade& cascade_;
    std::size_t count_;
    std::vector<const Pixels*> images_;  // of the last batch, until it is queued
    Outputs ee_;
    StageTwoRequest request_;  // of the images that wait
};

}  // namespace

std::unique_ptr<Stages> make_stages(const Cascade& cascade, std::size_t count, std::size_t batch) {
    return cascade.memory() != nullptr ? make_device_stages(cascade, count, batch) : make_host_stages(cascade, count);
}

std::unique_ptr<Stages> make_host_stages(const Cascade& cascade, std::size_t count) {
    return std::make_unique<HostStages>(cascade, count);
}

}  // namespace sacvit::detail
