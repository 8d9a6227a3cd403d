// TensorRT behind the backend interface. Built with SACVIT_TENSORRT alone.
#pragma once

#include <memory>

#include "backends/engine.hpp"

namespace sacvit::detail {

// Plans on the first GPU. Throws Error (backend) if there is none.
std::unique_ptr<Backend> open_trt_backend();

}  // namespace sacvit::detail
