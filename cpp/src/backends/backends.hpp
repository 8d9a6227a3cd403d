// The backends this library was built with, by name.
#pragma once

#include <memory>

#include "backends/engine.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Throws Error (backend) if the backend was not built in, or what it needs is not there, Error (usage) for options that
// it has not.
std::unique_ptr<Backend> open_backend(const Options& options, int threads);

}  // namespace sacvit::detail
