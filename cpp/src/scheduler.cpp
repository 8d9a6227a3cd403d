#include "scheduler.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "confidence.hpp"
#include "glue.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

Error overflow(const std::string& source, const char* stage) {
    return {ErrorCode::output, text(printable(source), ": the ", stage,
                                    " engine gave NaN or infinite values; try another precision, such as fp32")};
}

}  // namespace

Scheduler::Scheduler(std::unique_ptr<Stages> stages, const Geometry& geometry, double eta, std::size_t sac_batch,
                     std::size_t patience)
    : stages_(std::move(stages)),
      classes_(static_cast<std::size_t>(geometry.classes)),
      eta_(eta),
      sac_batch_(sac_batch),
      patience_(patience) {}

void Scheduler::take(std::vector<Item> batch) {
    run_stage_one(std::move(batch));
    while (held_.size() >= sac_batch_) {
        run_stage_two(sac_batch_);
    }
    if (!held_.empty() && held_.front().second.item.due <= std::chrono::steady_clock::now()) {
        run_stage_two(held_.size());
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
        answer.item.position = answer.item.position.value_or(taken_);
        if (answer.item.error) {
            answers_.emplace(taken_++, std::move(answer));
        } else {
            answers.emplace_back(taken_++, std::move(answer));
        }
    }
    if (answers.empty()) {
        return;
    }
    Clock clock(answers.size());
    std::vector<const Pixels*> images;
    for (const auto& [number, answer] : answers) {
        images.push_back(&answer.item.pixels);
    }
    const StageAnswers given = stages_->stage_one(images, clock);
    const std::vector<double> highest = classify(given, classes_, eta_);
    std::vector<std::size_t> rows;
    for (std::size_t row = 0; row < answers.size(); ++row) {
        Answer& answer = answers[row].second;
        if (std::isnan(highest[row])) {
            answer.item.error = overflow(answer.item.source, "EE");
            continue;
        }
        answer.stage_one_probability = highest[row];
        // eta = 1 continues even where the softmax saturates to 1, eta = 0 always exits.
        if (highest[row] > eta_) {
            answer.probabilities = softmax(&given.logits[row * classes_], classes_);
        } else {
            answer.stage = 2;
            rows.push_back(row);
        }
    }
    clock.lap(&Timing::glue);
    stages_->queue(rows, clock);
    for (auto& [number, answer] : answers) {
        clock.add_to(answer.item.timing);
        answer.item.pixels = {};
        if (answer.stage == 1) {
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
    const StageTwoAnswers out = stages_->stage_two(size, clock);
    const auto count = static_cast<std::ptrdiff_t>(out.targets.size() / size);
    for (std::size_t row = 0; row < size; ++row) {
        Answer& answer = held_[row].second;
        const float* const own = &out.logits[row * classes_];
        const auto targets = out.targets.begin() + static_cast<std::ptrdiff_t>(row) * count;
        answer.targets.assign(targets, targets + count);
        if (finite(own, classes_)) {
            answer.probabilities = softmax(own, classes_);
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
