#include "backends/onnxruntime/small_graphs.hpp"

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "bundle/protobuf.hpp"

namespace sacvit::detail {
namespace {

// Field numbers and constants of onnx.proto.
constexpr std::uint64_t kModelVersion = 1, kModelGraph = 7, kModelOpset = 8, kOpsetVersion = 2;
constexpr std::uint64_t kGraphNode = 1, kGraphName = 2, kGraphInputs = 11, kGraphOutputs = 12;
constexpr std::uint64_t kNodeInput = 1, kNodeOutput = 2, kNodeType = 4, kNodeAttribute = 5;
constexpr std::uint64_t kAttributeName = 1, kAttributeInt = 3, kAttributeType = 20, kInt = 2;
constexpr std::uint64_t kValueName = 1, kValueType = 2, kTypeTensor = 1, kTensorElements = 1;
constexpr std::uint64_t kFloat = 1, kUint8 = 2, kInt64 = 7, kHalf = 10;

std::uint64_t number_of(ElementType type) {
    switch (type) {
        case ElementType::float32: return kFloat;
        case ElementType::float16: return kHalf;
        case ElementType::int64: return kInt64;
        default: return kUint8;
    }
}

// The operator, which gives the graph's output.
std::string node(const char* type, std::initializer_list<const char*> inputs) {
    std::string out;
    for (const char* input : inputs) {
        put_field(out, kNodeInput, input);
    }
    put_field(out, kNodeOutput, kGraphOutput);
    put_field(out, kNodeType, type);
    return out;
}

// The operator with its one attribute.
std::string node(const char* type, std::initializer_list<const char*> inputs, const char* name, std::uint64_t value) {
    std::string attribute, out = node(type, inputs);
    put_field(attribute, kAttributeName, name);
    put_number(attribute, kAttributeInt, value);
    put_number(attribute, kAttributeType, kInt);
    put_field(out, kNodeAttribute, attribute);
    return out;
}

// A tensor of any shape.
std::string value(const char* name, std::uint64_t elements) {
    std::string tensor, type, out;
    put_number(tensor, kTensorElements, elements);
    put_field(type, kTypeTensor, tensor);
    put_field(out, kValueName, name);
    put_field(out, kValueType, type);
    return out;
}

std::string model(const std::string& node, std::initializer_list<const char*> inputs, std::uint64_t from,
                  std::uint64_t to) {
    std::string graph, opset, out;
    put_field(graph, kGraphNode, node);
    put_field(graph, kGraphName, "small");
    for (const char* input : inputs) {
        put_field(graph, kGraphInputs, value(input, from));
    }
    put_field(graph, kGraphOutputs, value(kGraphOutput, to));
    put_number(opset, kOpsetVersion, 17);
    put_number(out, kModelVersion, 8);
    put_field(out, kModelGraph, graph);
    put_field(out, kModelOpset, opset);
    return out;
}

}  // namespace

std::string half_precision_graph() {
    return model(node("Cast", {kGraphInput}, "to", kFloat), {kGraphInput}, kHalf, kFloat);
}

std::string copy_graph(ElementType type) {
    return model(node("Identity", {kGraphInput}), {kGraphInput}, number_of(type), number_of(type));
}

std::string join_graph(ElementType type) {
    const std::uint64_t elements = number_of(type);
    const auto inputs = {kGraphInput, kGraphSecond};
    return model(node("Concat", inputs, "axis", 0), inputs, elements, elements);
}

}  // namespace sacvit::detail
