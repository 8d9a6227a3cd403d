// The engines of one variant, two on the host and four where tensors stay on a device: names, shapes and element types
// of their inputs and outputs are those of sacvit_deploy/contract.py.
//
// B images, S pixels a side, P pixels a patch, N low-res tokens, M target tokens, D channels, C classes. `logits`,
// `confidence` and `scores` are fp32 and `positions` int64; the other tensors may have the variant's precision.
#pragma once

#include <cstddef>
#include <cstdint>
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
    // Opens the EE engine of a variant. Throws Error (backend, bundle).
    Cascade(std::unique_ptr<Backend> backend, HeldFiles files, const Config& config);

    const Config& config() const { return config_; }
    const Normalise& normalise() const { return normalise_; }
    // [B,3,S/2,S/2] normalised -> logits [B,C], scores [B,N], features [B,N,D], embeddings [B,N,D] where the method
    // reads them, and the confidence [B,2] where the engine gives it. Throws Error (backend) for other outputs.
    Outputs stage_one(const std::vector<float>& low, std::size_t batch) const;
    // The request, with its patches [B,4M,3PP] normalised -> logits [B,C]. The first call opens the SAC engine.
    Outputs stage_two(const StageTwoRequest& request, const std::vector<float>& patches) const;
    // Opens what stage 2 takes, unless it is open. Throws Error (backend, bundle).
    void open_stage_two() const;

    // The device on which tensors stay between engines; null where the backend has none, or the bundle has no engines
    // for the steps between. The calls below are for such a device.
    DeviceMemory* memory() const { return view_ ? backend_->memory() : nullptr; }
    // [B,S,S,3] uint8 -> the EE engine's input.
    TensorView view(const TensorView& pictures) const;
    // The EE engine's outputs, of which the logits and the confidence are on the host.
    Outputs stage_one(const TensorView& view) const;
    // Selects M = `count` targets for the images `rows` of a batch and gathers stage 2's inputs; `targets` are on
    // the host.
    Outputs gather(const TensorView& pictures, const Outputs& stage_one, const std::vector<std::int64_t>& rows,
                   std::size_t count) const;
    // The joined inputs -> logits, on the host.
    Outputs stage_two(const std::map<std::string, TensorView>& inputs) const;

private:
    std::unique_ptr<Engine> open(const char* role, const std::map<std::string, Shape>& inputs) const;

    Config config_;
    Normalise normalise_;
    mutable HeldFiles files_;  // of the engines that are not open yet, and the weights
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Engine> view_, ee_;
    mutable std::unique_ptr<Engine> gather_, sac_;
    mutable std::mutex opening_;
};

}  // namespace sacvit::detail
