// ONNX Runtime behind the backend interface.
#pragma once

#include <memory>
#include <string>

#include "backends/engine.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Sessions on one execution provider. Throws Error (backend) if the library or the provider is not there.
std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads);

}  // namespace sacvit::detail
