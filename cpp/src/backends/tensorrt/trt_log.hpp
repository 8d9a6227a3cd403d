// The messages of TensorRT. Built with SACVIT_TENSORRT alone.
#pragma once

#include <NvInfer.h>

#include <string>

namespace sacvit::detail {

// The logger that TensorRT gets. The library keeps the first one that a process gives it, so there is one, for ever.
nvinfer1::ILogger& logger();

// The first error logged in this thread since `clear_errors`, in one line: later ones are its consequences. Messages of
// the library's own threads are lost.
std::string last_error();
void clear_errors();

}  // namespace sacvit::detail
