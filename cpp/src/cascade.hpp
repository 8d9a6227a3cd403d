// The two engines of one variant, and the values that pass into and out of them.
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
    // [B,3,S/2,S/2] normalised -> logits, scores, features, embeddings. Throws Error (backend) for outputs that the
    // contract doesn't know.
    Outputs stage_one(const std::vector<float>& low, std::size_t batch) const;
    // `patches` are the request's, normalised -> logits [B,C]. The first call opens the SAC engine.
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
