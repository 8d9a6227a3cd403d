// The weights of an ONNX file that are stored in the weights file beside it.
//
// ONNX Runtime shares weights between sessions only if they are passed one by one, by name. This reads the few protobuf
// fields that name them, which needs no protobuf library. It also keeps a model from naming any other file: the library
// would open it.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

struct ExternalTensor {
    std::string name;
    std::int32_t type = 0;  // ONNX's number of the element type
    std::vector<std::int64_t> shape;
    std::uint64_t offset = 0;  // bytes
    std::uint64_t length = 0;  // bytes
};

// All weights of the main graph that are stored in another file. `model` has the ONNX file's bytes, `name` stands in
// messages, `weights` is the name of the weights file, whose size is `size` bytes; empty, where there is none. Throws
// Error (bundle) where the file is no ONNX model, names another file, or a place outside the weights file, or has other
// tensors than the main graph's weights in a file.
std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name,
                                             const std::string& weights, std::size_t size);

// The bytes of a model that `external_tensors` has read, with its external weights inside, but for those that are
// named: these get `location` as their place. `weights` are the weights file's bytes.
std::string with_weights(std::string_view model, std::string_view weights, const std::set<std::string>& names,
                         std::string_view location);

}  // namespace sacvit::detail
