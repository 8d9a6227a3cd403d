// Passes images through the two engines: gate, compaction, re-batching, answers in the order of the images.
// As sacvit_deploy/scheduler.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "images/prefetch.hpp"
#include "stages/stages.hpp"

namespace sacvit::detail {

// One image on its way out; the item has an error where there are no probabilities.
struct Answer {
    Item item;
    std::vector<double> probabilities;
    int stage = 1;
    double stage_one_probability = 0;
    std::vector<std::int64_t> targets;
};

// Continuing images wait until a whole SAC batch of them has come together, across EE batches, or one of them is due;
// `patience` bounds how many finished answers may wait behind them.
class Scheduler {
public:
    // `sac_batch` and `patience` count images.
    Scheduler(std::unique_ptr<Stages> stages, const Geometry& geometry, double eta, std::size_t sac_batch,
              std::size_t patience);

    // Runs stage 1 on a batch, and stage 2 on every whole batch that has come together.
    void take(std::vector<Item> batch);
    // Runs stage 2 on the images that still wait for it.
    void finish();
    // The next answer in the images' order, if it is finished.
    std::optional<Answer> next();

private:
    void run_stage_one(std::vector<Item> batch);
    void run_stage_two(std::size_t size);

    std::unique_ptr<Stages> stages_;
    std::size_t classes_;
    double eta_;
    std::size_t sac_batch_, patience_;
    std::map<std::size_t, Answer> answers_;            // finished, by the image's number
    std::deque<std::pair<std::size_t, Answer>> held_;  // those that wait for stage 2, in the order they were queued
    std::size_t taken_ = 0, given_ = 0;
};

}  // namespace sacvit::detail
