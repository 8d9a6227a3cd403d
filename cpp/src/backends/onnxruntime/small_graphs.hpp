// ONNX graphs of a node or two, made here: what the runtime asks of a device beside a bundle's engines.
#pragma once

#include <string>

#include "backends/engine.hpp"

namespace sacvit::detail {

inline constexpr const char *kGraphInput = "input", *kGraphSecond = "second", *kGraphOutput = "output";

// Numbers in fp16 -> the same in fp32.
std::string half_precision_graph();

// A tensor -> the same.
std::string copy_graph(ElementType type);

// Two tensors of one type -> one, the second's rows behind the first's.
std::string join_graph(ElementType type);

}  // namespace sacvit::detail
