// Values handed to an engine in the element type it takes.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "engine.hpp"

namespace sacvit::detail {

// Looks up an input and gives it as `type`: where it is, or copied into `storage`. `file` is the engine's name, for
// people. Throws Error (backend) if the input is missing, or would turn from indices into values.
TensorView as_type(const std::map<std::string, TensorView>& inputs, const std::string& name, ElementType type,
                   const std::string& file, std::vector<std::vector<std::byte>>& storage);

}  // namespace sacvit::detail
