// The backends, by name. Which ones are built in is known to backends.cpp alone.
#pragma once

#include <memory>

#include "backends/engine.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Opens the backend that the options name. Throws Error (backend) if it was not built in or lacks something it needs,
// Error (usage) for options that it doesn't have.
std::unique_ptr<Backend> open_backend(const Options& options, int threads);

// ONNX Runtime: sessions on one execution provider. Throws Error (backend) if the library or the provider is missing.
std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads);

// TensorRT: plans on the first GPU; only where it was built in. Throws Error (backend) if there is no GPU.
std::unique_ptr<Backend> open_trt_backend();

}  // namespace sacvit::detail
