// Which of an ONNX file's weights stand in the weights file beside it, and where.
//
// ONNX Runtime shares weights between sessions only if it is handed them one by one, by name. This reads the few
// protobuf fields that name them; no protobuf library is needed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

struct ExternalTensor {
    std::string name;
    std::int32_t type = 0;  // as ONNX numbers element types
    std::vector<std::int64_t> shape;
    std::string location;  // file name
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

// All tensors of the main graph that stand in another file. Throws Error (bundle) where the file is no ONNX model.
std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name);

}  // namespace sacvit::detail
