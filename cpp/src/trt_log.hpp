// What TensorRT says. Built with SACVIT_TENSORRT alone.
#pragma once

#include <NvInfer.h>

#include <string>

namespace sacvit::detail {

// Where TensorRT writes to. The library keeps the first logger that a process gives it, so there is one, for ever.
nvinfer1::ILogger& logger();

// The first error said in this thread since it was told to forget, in one line: what follows it is its consequence.
// What the library's own threads say is not heard.
std::string last_error();
void forget();

}  // namespace sacvit::detail
