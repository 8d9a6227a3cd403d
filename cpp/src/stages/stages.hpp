// The two stages as the scheduler drives them, on the host or on a device. As sacvit_deploy/stages/protocol.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cascade.hpp"
#include "confidence.hpp"
#include "images/prefetch.hpp"
#include "images/preprocess.hpp"

namespace sacvit::detail {

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

struct StageTwoAnswers {
    std::vector<float> logits;          // [B,C]
    std::vector<std::int64_t> targets;  // [B,M]
};

// Runs the two stages batch by batch; for one thread. Its calls throw Error (backend, bundle).
class Stages {
public:
    virtual ~Stages() = default;
    // Runs stage 1 on images [S,S,3]. Rows with NaN or infinity belong to images on which the engine overflowed.
    virtual StageAnswers stage_one(const std::vector<const Pixels*>& images, Clock& clock) = 0;
    // Queues images of the last batch for stage 2, by their rows, ascending: selects targets, gathers stage 2's inputs.
    virtual void queue(const std::vector<std::size_t>& rows, Clock& clock) = 0;
    // Runs stage 2 on the `size` images that have waited longest: a batch, or all that wait.
    virtual StageTwoAnswers stage_two(std::size_t size, Clock& clock) = 0;
};

// The stages of one thread where the cascade's tensors are, for M = `count` and batches of `batch` images in stage 2.
std::unique_ptr<Stages> make_stages(const Cascade& cascade, std::size_t count, std::size_t batch);

// On the host, with arrays.
std::unique_ptr<Stages> make_host_stages(const Cascade& cascade, std::size_t count);

// On a device: images and the indices of those that continue go up, logits and targets come down. The cascade must be
// resident.
std::unique_ptr<Stages> make_device_stages(const Cascade& cascade, std::size_t count, std::size_t batch);

}  // namespace sacvit::detail
