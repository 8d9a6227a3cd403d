#include "scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "errors.hpp"
#include "stopwatch.hpp"

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
    while (waiting_.size() >= sac_batch_) {
        run_stage_two(sac_batch_);
    }
    // Answers that could leave now don't count: next() hands them out before the next batch comes.
    std::size_t ready = 0;
    while (answers_.count(given_ + ready)) {
        ++ready;
    }
    if (answers_.size() - ready > patience_) {
        run_stage_two(waiting_.size());
    }
}

void Scheduler::finish() {
    while (!waiting_.empty()) {
        run_stage_two(std::min(sac_batch_, waiting_.size()));
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
    std::vector<std::size_t> numbers;
    std::vector<Answer> answers;
    for (Item& item : batch) {
        const std::size_t number = taken_++;
        Answer answer;
        answer.item = std::move(item);
        if (answer.item.error) {
            answers_.emplace(number, std::move(answer));
        } else {
            numbers.push_back(number);
            answers.push_back(std::move(answer));
        }
    }
    if (numbers.empty()) {
        return;
    }
    const Config& config = cascade_.config();
    const Geometry& geometry = config.geometry;
    const std::size_t rows = numbers.size(), classes = static_cast<std::size_t>(geometry.classes);
    const auto tokens = static_cast<std::size_t>(geometry.tokens());
    Clock clock(rows);
    const auto view = static_cast<std::size_t>(3 * geometry.image_size / 2 * geometry.image_size / 2);
    std::vector<float> low(rows * view);
    for (std::size_t row = 0; row < rows; ++row) {
        low_view(answers[row].item.pixels.data(), static_cast<int>(geometry.image_size), config.method.downsample,
                 cascade_.normalise(), &low[row * view]);
    }
    clock.lap(&Timing::glue);
    const Outputs out = cascade_.stage_one(low, rows);
    clock.lap(&Timing::ee);
    const float* logits = floats(out, "logits");
    const float* scores = floats(out, "scores");
    std::vector<bool> goes_on(rows);
    for (std::size_t row = 0; row < rows; ++row) {
        Answer& answer = answers[row];
        // Row by row: an image on which the variant overflows must not cost the others their answers.
        if (!finite(logits + row * classes, classes) || !finite(scores + row * tokens, tokens)) {
            answer.item.error = overflow(answer.item.source, "EE");
            continue;
        }
        answer.probabilities = softmax(logits + row * classes, classes);
        answer.stage_one_probability = *std::max_element(answer.probabilities.begin(), answer.probabilities.end());
        // eta = 1 continues even where the softmax saturates to 1, eta = 0 always exits.
        goes_on[row] = !(answer.stage_one_probability > eta_);
        if (goes_on[row]) {
            answer.targets = select_targets(scores + row * tokens, tokens, count_);
            request_.add(answer.item.pixels, out, row, answer.targets, config);
            waiting_.push_back(numbers[row]);
        }
    }
    clock.lap(&Timing::glue);
    for (std::size_t row = 0; row < rows; ++row) {
        clock.add_to(answers[row].item.timing);
        answers[row].item.pixels = {};
        (goes_on[row] ? held_ : answers_).emplace(numbers[row], std::move(answers[row]));
    }
}

void Scheduler::run_stage_two(std::size_t size) {
    if (size == 0) {
        return;
    }
    Clock clock(size);
    const StageTwoRequest now = request_.take(size);
    const std::vector<float> patches = normalised_patches(now, cascade_.config().geometry, cascade_.normalise());
    clock.lap(&Timing::glue);
    const Outputs out = cascade_.stage_two(now, patches);
    clock.lap(&Timing::sac);
    const auto classes = static_cast<std::size_t>(cascade_.config().geometry.classes);
    const float* logits = floats(out, "logits");
    std::vector<std::vector<double>> probabilities(size);
    for (std::size_t row = 0; row < size; ++row) {
        if (finite(logits + row * classes, classes)) {
            probabilities[row] = softmax(logits + row * classes, classes);
        }
    }
    clock.lap(&Timing::glue);
    for (std::size_t row = 0; row < size; ++row) {
        auto held = held_.extract(waiting_.front());
        waiting_.pop_front();
        Answer& answer = held.mapped();
        clock.add_to(answer.item.timing);
        answer.stage = 2;
        answer.probabilities = std::move(probabilities[row]);
        if (answer.probabilities.empty()) {
            answer.item.error = overflow(answer.item.source, "SAC");
        }
        answers_.insert(std::move(held));
    }
}

}  // namespace sacvit::detail
