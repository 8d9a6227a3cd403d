// The weights of an ONNX file that are stored in the weights file beside it.
//
// ONNX Runtime shares weights between sessions only if they are passed one by one, by name. This reads the few protobuf
// fields that name them, which needs no protobuf library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

struct ExternalTensor {
    std::string name;
    std::int32_t type = 0;  // ONNX's number of the element type
    std::vector<std::int64_t> shape;
    std::string location;      // file name
    std::uint64_t offset = 0;  // bytes
    std::uint64_t length = 0;  // bytes
};

// All tensors of the main graph that are stored in another file. `model` has the ONNX file's bytes, `name` stands in
// messages. Throws Error (bundle) where the file is no ONNX model.
std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name);

}  // namespace sacvit::detail
