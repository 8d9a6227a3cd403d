#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "stages/stages.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

template <typename Value>
void append(std::vector<Value>& to, const TensorView& from) {
    const auto* values = static_cast<const Value*>(from.data);
    to.insert(to.end(), values, values + from.count());
}

// As sacvit_deploy/stages/device.py, one batch at a time.
class DeviceStages final : public Stages {
public:
    DeviceStages(const Cascade& cascade, std::size_t count, std::size_t batch)
        : cascade_(cascade), count_(count), batch_(batch) {}

    StageAnswers stage_one(const std::vector<const Pixels*>& images, Clock& clock) override {
        const std::int64_t side = cascade_.config().geometry.image_size;
        Pixels together;
        together.reserve(images.size() * static_cast<std::size_t>(3 * side * side));
        for (const Pixels* image : images) {
            together.insert(together.end(), image->begin(), image->end());
        }
        const auto size = static_cast<std::int64_t>(images.size());
        pictures_ = cascade_.memory()->upload({ElementType::uint8, together.data(), {size, side, side, 3}});
        const TensorView view = cascade_.view(pictures_);
        clock.lap(&Timing::glue);
        ee_ = cascade_.stage_one(view);
        clock.lap(&Timing::ee);
        StageAnswers out;
        append(out.logits, ee_.at("logits"));
        if (ee_.tensors.count("confidence") > 0) {
            append(out.confidence, ee_.at("confidence"));
        }
        return out;
    }

    void queue(const std::vector<std::size_t>& rows, Clock& clock) override {
        for (auto first = rows.begin(); first != rows.end();) {
            // No chunk reaches over the end of a batch of stage 2, so none has to be cut.
            const auto room = static_cast<std::ptrdiff_t>(batch_ - waiting_ % batch_);
            const auto last = first + std::min(room, rows.end() - first);
            const std::vector<std::int64_t> chosen(first, last);
            chunks_.push_back({chosen.size(), cascade_.gather(pictures_, ee_, chosen, count_)});
            waiting_ += chosen.size();
            first = last;
        }
        pictures_ = {};
        ee_ = {};
        clock.lap(&Timing::glue);
    }

    StageTwoAnswers stage_two(std::size_t size, Clock& clock) override {
        std::map<std::string, TensorView> inputs;
        StageTwoAnswers out;
        std::size_t taken = 0;
        for (; taken < size && !chunks_.empty(); chunks_.pop_front()) {
            const Outputs& gathered = chunks_.front().gathered;
            for (const char* name : {"patches", "positions", "target_features", "background"}) {
                const TensorView& chunk = gathered.at(name);
                const auto before = inputs.find(name);
                inputs[name] = before == inputs.end() ? chunk : cascade_.memory()->join(before->second, chunk);
            }
            append(out.targets, gathered.at("targets"));
            taken += chunks_.front().size;
        }
        if (taken != size) {
            fail(ErrorCode::usage, "stage 2 is asked for ", size, " images, its batches end at ", taken);
        }
        waiting_ -= size;
        clock.lap(&Timing::glue);
        append(out.logits, cascade_.stage_two(inputs).at("logits"));
        clock.lap(&Timing::sac);
        return out;
    }

private:
    struct Chunk {
        std::size_t size;
        Outputs gathered;
    };

    const Cascade& cascade_;
    std::size_t count_, batch_;
    TensorView pictures_;  // of the last batch, until it is queued
    Outputs ee_;
    std::deque<Chunk> chunks_;  // of the images that wait
    std::size_t waiting_ = 0;
};

}  // namespace

std::unique_ptr<Stages> make_device_stages(const Cascade& cascade, std::size_t count, std::size_t batch) {
    return std::make_unique<DeviceStages>(cascade, count, batch);
}

}  // namespace sacvit::detail
