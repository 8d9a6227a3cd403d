// The two engines of one variant: names, shapes and element types of their inputs and outputs are those of
// sacvit_deploy/contract.py.
//
// B images, S pixels a side, P pixels a patch, N low-res tokens, M target tokens, D channels, C classes. `logits` and
// `scores` are fp32 and `positions` int64; the other tensors may have the variant's precision.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/engine.hpp"
#include "config.hpp"
#include "glue.hpp"
#include "images/preprocess.hpp"

namespace sacvit::detail {

// Safe to use from several threads.
class Cascade {
public:
    // `files` are paths by role. Opens the EE engine. Throws Error (backend).
    Cascade(std::unique_ptr<Backend> backend, std::map<std::string, std::string> files, const Config& config);

    const Config& config() const { return config_; }
    const Normalise& normalise() const { return normalise_; }
    // [B,3,S/2,S/2] normalised -> logits [B,C], scores [B,N], features [B,N,D], and embeddings [B,N,D] where the method
    // reads them. Throws Error (backend) for other outputs.
    Outputs stage_one(const std::vector<float>& low, std::size_t batch) const;
    // The request, with its patches [B,4M,3PP] normalised -> logits [B,C]. The first call opens the SAC engine.
    Outputs stage_two(const StageTwoRequest& request, const std::vector<float>& patches) const;

private:
    std::unique_ptr<Engine> open(const char* role) const;

    Config config_;
    Normalise normalise_;
    std::map<std::string, std::string> files_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Engine> ee_;
    mutable std::unique_ptr<Engine> sac_;
    mutable std::mutex opening_;
};

}  // namespace sacvit::detail
