#include "scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "text.hpp"

namespace sacvit::detail {
namespace {

// Seconds by step, shared equally by the images of one batch.
class Clock {
public:
    explicit Clock(std::size_t share) : share_(static_cast<double>(share)) {}

    void lap(double Timing::* step) { laps_.*step += watch_.lap() / share_; }

    void add_to(Timing& timing) const {
        timing.glue += laps_.glue;
        timing.ee += laps_.ee;
        timing.sac += laps_.sac;
    }

private:
    double share_;
    Stopwatch watch_;
    Timing laps_;
};

bool finite(const float* values, std::size_t count) {
    return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

Error overflow(const std::string& source, const char* stage) {
    return {ErrorCode::output,
            text(source, ": the ", stage, " engine gave NaN or infinite values; try another precision, such as fp32")};
}

const float* floats(const Outputs& outputs, const char* name) {
    return static_cast<const float*>(outputs.at(name).data);
}

}  // namespace

Scheduler::Scheduler(const Cascade& cascade, double eta, std::size_t count, std::size_t sac_batch, std::size_t patience)
    : cascade_(cascade), eta_(eta), count_(count), sac_batch_(sac_batch), patience_(patience) {}

void Scheduler::take(std::vector<Item> batch) {
    run_stage_one(std::move(batch));
    while (held_.size() >= sac_batch_) {
        run_stage_two(sac_batch_);
    }
    // Answers that are next in order don't count: next() hands them out before the next batch comes.
    std::size_t ready = 0;
    while (answers_.count(given_ + ready)) {
        ++ready;
    }
    if (answers_.size() - ready > patience_) {
        run_stage_two(held_.size());
    }
}

void Scheduler::finish() {
    while (!held_.empty()) {
        run_stage_two(std::min(sac_batch_, held_.size()));
    }
}

std::optional<Answer> Scheduler::next() {
    auto answer = answers_.extract(given_);
    if (!answer) {
        return std::nullopt;
    }
    ++given_;
    return std::move(answer.mapped());
}

void Scheduler::run_stage_one(std::vector<Item> batch) {
    std::vector<std::pair<std::size_t, Answer>> answers;  // by the image's number
    for (Item& item : batch) {
        Answer answer;
        answer.item = std::move(item);
        if (answer.item.error) {
            answers_.emplace(taken_++, std::move(answer));
        } else {
            answers.emplace_back(taken_++, std::move(answer));
        }
    }
    if (answers.empty()) {
        return;
    }
    const Config& config = cascade_.config();
    const Geometry& geometry = config.geometry;
    const std::size_t rows = answers.size(), classes = static_cast<std::size_t>(geometry.classes);
    const auto tokens = static_cast<std::size_t>(geometry.tokens());
    Clock clock(rows);
    const auto view = static_cast<std::size_t>(3 * geometry.image_size / 2 * geometry.image_size / 2);
    std::vector<float> low(rows * view);
    for (std::size_t row = 0; row < rows; ++row) {
        low_view(answers[row].second.item.pixels.data(), static_cast<int>(geometry.image_size),
                 config.method.downsample, cascade_.normalise(), &low[row * view]);
    }
    clock.lap(&Timing::glue);
    const Outputs out = cascade_.stage_one(low, rows);
    clock.lap(&Timing::ee);
    const float* logits = floats(out, "logits");
    const float* scores = floats(out, "scores");
    for (std::size_t row = 0; row < rows; ++row) {
        Answer& answer = answers[row].second;
        // Row by row: an image on which the variant overflows must not cost the others their answers.
        if (!finite(logits + row * classes, classes) || !finite(scores + row * tokens, tokens)) {
            answer.item.error = overflow(answer.item.source, "EE");
            continue;
        }
        answer.probabilities = softmax(logits + row * classes, classes);
        answer.stage_one_probability = *std::max_element(answer.probabilities.begin(), answer.probabilities.end());
        // eta = 1 continues even where the softmax saturates to 1, eta = 0 always exits.
        if (!(answer.stage_one_probability > eta_)) {
            answer.targets = select_targets(scores + row * tokens, tokens, count_);
            request_.add(answer.item.pixels, out, row, answer.targets, config);
        }
    }
    clock.lap(&Timing::glue);
    for (auto& [number, answer] : answers) {
        clock.add_to(answer.item.timing);
        answer.item.pixels = {};
        if (answer.targets.empty()) {
            answers_.emplace(number, std::move(answer));
        } else {
            held_.emplace_back(number, std::move(answer));
        }
    }
}

void Scheduler::run_stage_two(std::size_t size) {
    if (size == 0) {
        return;
    }
    Clock clock(size);
    const StageTwoRequest request = request_.take(size);
    const std::vector<float> patches = normalised_patches(request, cascade_.config().geometry, cascade_.normalise());
    clock.lap(&Timing::glue);
    const Outputs out = cascade_.stage_two(request, patches);
    clock.lap(&Timing::sac);
    const auto classes = static_cast<std::size_t>(cascade_.config().geometry.classes);
    const float* logits = floats(out, "logits");
    for (std::size_t row = 0; row < size; ++row) {
        Answer& answer = held_[row].second;
        answer.stage = 2;
        answer.probabilities = {};
        if (finite(logits + row * classes, classes)) {
            answer.probabilities = softmax(logits + row * classes, classes);
        } else {
            answer.item.error = overflow(answer.item.source, "SAC");
        }
    }
    clock.lap(&Timing::glue);
    for (; size > 0; --size, held_.pop_front()) {
        clock.add_to(held_.front().second.item.timing);
        answers_.insert(std::move(held_.front()));
    }
}

}  // namespace sacvit::detail
