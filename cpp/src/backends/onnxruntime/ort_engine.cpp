#include "backends/onnxruntime/ort_engine.hpp"

#include "backends/convert.hpp"
#include "errors.hpp"

namespace sacvit::detail {
namespace {

ElementType element_type(ONNXTensorElementDataType type, const std::string& where) {
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return ElementType::float32;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return ElementType::float16;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return ElementType::int64;
        default:
            fail(ErrorCode::backend, where, " has the element type ", static_cast<int>(type), ", which no engine has");
    }
}

ONNXTensorElementDataType onnx_type(ElementType type) {
    return type == ElementType::float32   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
           : type == ElementType::float16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                          : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}

}  // namespace

OrtEngine::OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file)
    : shared_(std::move(shared)), session_(std::move(session)), file_(std::move(file)) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
        const std::string name = session_.GetInputNameAllocated(i, allocator).get();
        const auto info = session_.GetInputTypeInfo(i);
        inputs_.push_back({name, element_type(info.GetTensorTypeAndShapeInfo().GetElementType(), file_)});
    }
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
        outputs_.emplace_back(session_.GetOutputNameAllocated(i, allocator).get());
    }
}

Outputs OrtEngine::run(const std::map<std::string, TensorView>& inputs) const {
    std::vector<std::vector<std::byte>> casts;
    std::vector<Ort::Value> values;
    std::vector<const char*> input_names, output_names;
    return guarded(file_ + " failed in ONNX Runtime", [&] {
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        for (const TensorSpec& input : inputs_) {
            const TensorView view = input_for(input, inputs, file_, casts);
            // The API takes no pointers to constant memory; an engine does not write to its inputs.
            values.push_back(Ort::Value::CreateTensor(memory, const_cast<void*>(view.data),
                                                      view.count() * element_size(input.type), view.shape.data(),
                                                      view.shape.size(), onnx_type(input.type)));
            input_names.push_back(input.name.c_str());
        }
        for (const std::string& name : outputs_) {
            output_names.push_back(name.c_str());
        }
        auto results = std::make_shared<std::vector<Ort::Value>>(
            session_.Run(Ort::RunOptions{nullptr}, input_names.data(), values.data(), values.size(),
                         output_names.data(), output_names.size()));
        Outputs out;
        for (std::size_t i = 0; i < results->size(); ++i) {
            const Ort::Value& value = (*results)[i];
            const auto info = value.GetTensorTypeAndShapeInfo();
            out.tensors[outputs_[i]] = {element_type(info.GetElementType(), file_), value.GetTensorRawData(),
                                        info.GetShape()};
        }
        out.owner = std::move(results);
        return out;
    });
}

}  // namespace sacvit::detail
