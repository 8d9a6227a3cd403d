// Inputs in the element type that an engine takes.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "backends/engine.hpp"

namespace sacvit::detail {

// Looks up an input and gives it in the element type that the engine takes: where it is, or copied into `storage`.
// `file` names the engine in messages. Throws Error (backend) if the input is missing, or would turn from indices into
// values.
TensorView input_for(const TensorSpec& spec, const std::map<std::string, TensorView>& inputs, const std::string& file,
                     std::vector<std::vector<std::byte>>& storage);

}  // namespace sacvit::detail
