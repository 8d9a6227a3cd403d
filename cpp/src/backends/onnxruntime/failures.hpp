// What a device could not do, and what helps: sentences for some of the library's messages, which name its source
// lines.
#pragma once

#include <string>

namespace sacvit::detail {

// The end of a sentence for the message of an exception; empty for a message that is nothing of the kind.
std::string device_failure(const std::string& message);

// Whether the message says that a GPU computes nothing in half precision.
bool lacks_fp16(const std::string& message);

// What to do where WebGPU finds no GPU, as the end of a sentence.
std::string no_adapter();

}  // namespace sacvit::detail
