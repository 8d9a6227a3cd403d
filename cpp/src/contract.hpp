// Names, shapes and element types of every engine's inputs and outputs. As sacvit_deploy/contract.py.
//
// B images, S pixels a side, P pixels a patch, N low-res tokens, M target tokens, D channels, C classes. `logits` and
// `scores` are fp32 and `positions` int64; the other tensors may have the variant's precision.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "backends/engine.hpp"
#include "config.hpp"

namespace sacvit::detail {

using Shapes = std::map<std::string, Shape>;

// image [B,3,S/2,S/2]
Shapes stage_one_inputs(const Config& config, std::int64_t batch);
// logits [B,C], scores [B,N], features [B,N,D], and embeddings [B,N,D] where the method reads them.
Shapes stage_one_outputs(const Config& config, std::int64_t batch);
// patches [B,4M,3PP], positions [B,4M], target_features [B,M,D], background [B,N-M,D]
Shapes stage_two_inputs(const Config& config, std::int64_t batch, std::int64_t targets);
// logits [B,C]
Shapes stage_two_outputs(const Config& config, std::int64_t batch);

// Throws Error (backend) unless an engine gave these outputs, in the contract's types.
void check_outputs(const Outputs& outputs, const Shapes& shapes);

}  // namespace sacvit::detail
