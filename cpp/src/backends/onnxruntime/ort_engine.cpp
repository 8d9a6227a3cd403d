#include "backends/onnxruntime/ort_engine.hpp"

#include <utility>

#include "text.hpp"

namespace sacvit::detail {
namespace {

ElementType element_type(ONNXTensorElementDataType type, const std::string& where) {
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return ElementType::float32;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return ElementType::float16;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return ElementType::int64;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return ElementType::uint8;
        default:
            fail(ErrorCode::backend, where, " has the element type ", static_cast<int>(type), ", which no engine has");
    }
}

Ort::MemoryInfo host_memory() { return Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault); }

// What a view says of a value, except where its data is.
TensorView described(const Ort::Value& value, const std::string& file, const std::string& name) {
    if (!value.IsTensor()) {
        fail(ErrorCode::backend, file, ": the output `", name, "` is no tensor");
    }
    const auto info = value.GetTensorTypeAndShapeInfo();
    return {element_type(info.GetElementType(), file), nullptr, info.GetShape()};
}

}  // namespace

ONNXTensorElementDataType onnx_type(ElementType type) {
    switch (type) {
        case ElementType::float32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
        case ElementType::float16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
        case ElementType::int64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
        default: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    }
}

Ort::Value host_value(const TensorView& view) {
    // The API takes no pointers to constant memory.
    return Ort::Value::CreateTensor(host_memory(), const_cast<void*>(view.data), view.count() * element_size(view.type),
                                    view.shape.data(), view.shape.size(), onnx_type(view.type));
}

OrtTensor::OrtTensor(std::shared_ptr<Shared> shared, Ort::Value value)
    : shared_(std::move(shared)), value_(std::move(value)) {}

OrtTensor::~OrtTensor() {
    const auto locked = shared_->provider->lock();
    value_ = Ort::Value(nullptr);
}

OrtEngine::OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file)
    : shared_(std::move(shared)), session_(std::move(session)), file_(std::move(file)) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
        const std::string name = session_.GetInputNameAllocated(i, allocator).get();
        const auto type = session_.GetInputTypeInfo(i);
        if (type.GetONNXType() != ONNX_TYPE_TENSOR) {
            fail(ErrorCode::backend, file_, ": the input `", name, "` is no tensor");
        }
        const auto info = type.GetTensorTypeAndShapeInfo();
        inputs_.push_back({name, element_type(info.GetElementType(), file_), info.GetShape()});
    }
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
        outputs_.emplace_back(session_.GetOutputNameAllocated(i, allocator).get());
    }
}

OrtEngine::~OrtEngine() {
    const auto locked = shared_->provider->lock();
    session_ = Ort::Session(nullptr);
}

Outputs OrtEngine::run(const std::map<std::string, TensorView>& inputs, const std::set<std::string>& kept) const {
    std::vector<std::vector<std::byte>> casts;
    return guarded(file_ + " failed in ONNX Runtime", [&] {
        std::vector<Ort::Value> hosted;
        std::vector<const Ort::Value*> values;
        hosted.reserve(inputs_.size());
        for (const TensorSpec& input : inputs_) {
            const TensorView view = input_for(input, inputs, file_, casts);
            if (view.device) {
                values.push_back(&static_cast<const OrtTensor&>(*view.device).value());
            } else {
                values.push_back(&hosted.emplace_back(host_value(view)));
                shared_->traffic.up += view.count() * element_size(view.type);
            }
        }
        return shared_->provider->memory() == nullptr ? run_on_host(hosted) : run_on_device(values, kept);
    });
}

Outputs OrtEngine::run_on_host(const std::vector<Ort::Value>& values) const {
    std::vector<const char*> input_names, output_names;
    for (const TensorSpec& input : inputs_) {
        input_names.push_back(input.name.c_str());
    }
    for (const std::string& name : outputs_) {
        output_names.push_back(name.c_str());
    }
    auto results = std::make_shared<std::vector<Ort::Value>>(session_.Run(Ort::RunOptions{nullptr}, input_names.data(),
                                                                          values.data(), values.size(),
                                                                          output_names.data(), output_names.size()));
    Outputs out;
    for (std::size_t i = 0; i < results->size(); ++i) {
        TensorView& view = out.tensors[outputs_[i]] = described((*results)[i], file_, outputs_[i]);
        view.data = (*results)[i].GetTensorRawData();
    }
    out.owner = std::move(results);
    return out;
}

Outputs OrtEngine::run_on_device(const std::vector<const Ort::Value*>& values,
                                 const std::set<std::string>& kept) const {
    const auto locked = shared_->provider->lock();
    const OrtMemoryInfo* const device = shared_->provider->memory();
    const Ort::MemoryInfo host = host_memory();
    Ort::IoBinding binding(session_);
    for (std::size_t i = 0; i < values.size(); ++i) {
        binding.BindInput(inputs_[i].name.c_str(), *values[i]);
    }
    for (const std::string& name : outputs_) {
        const OrtMemoryInfo* place = kept.count(name) > 0 ? device : host;
        Ort::ThrowOnError(Ort::GetApi().BindOutputToDevice(binding, name.c_str(), place));
    }
    session_.Run(Ort::RunOptions{nullptr}, binding);
    auto results = std::make_shared<std::vector<Ort::Value>>();
    Outputs out;
    std::vector<Ort::Value> given = binding.GetOutputValues();
    for (std::size_t i = 0; i < given.size(); ++i) {
        TensorView& view = out.tensors[outputs_[i]] = described(given[i], file_, outputs_[i]);
        if (kept.count(outputs_[i]) > 0) {
            view.device = std::make_shared<OrtTensor>(shared_, std::move(given[i]));
        } else {
            view.data = given[i].GetTensorRawData();
            shared_->traffic.down += view.count() * element_size(view.type);
            results->push_back(std::move(given[i]));
        }
    }
    out.owner = std::move(results);
    return out;
}

}  // namespace sacvit::detail
