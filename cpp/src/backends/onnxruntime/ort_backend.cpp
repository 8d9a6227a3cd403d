// Sessions of ONNX Runtime behind the interface of backends and engines.
#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include "backends/engine.hpp"
#include "backends/onnxruntime/ort_library.hpp"
#include "bundle/bundle.hpp"
#include "bundle/onnx_weights.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

const std::map<std::string, std::string> kShortNames = {
    {"cpu", "CPUExecutionProvider"}, {"cuda", "CUDAExecutionProvider"}, {"tensorrt", "TensorrtExecutionProvider"}};
constexpr const char* kSuffix = "ExecutionProvider";

// Held in common by all sessions of a backend. Its members must outlive the sessions, so each has a reference.
struct Shared {
    std::shared_ptr<OrtLibrary> library;
    std::map<std::string, std::shared_ptr<MappedFile>> files;  // weights files by path
    std::map<std::string, Ort::Value> tensors;                 // weights by file, place and type
    std::shared_ptr<OrtPrepackedWeightsContainer> prepacked;
};

class OrtEngine final : public Engine {
public:
    OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file);
    Outputs run(const std::map<std::string, TensorView>& inputs) const override;

private:
    std::shared_ptr<Shared> shared_;
    mutable Ort::Session session_;  // its Run is safe from several threads, but not const
    std::string file_;
    std::vector<TensorSpec> inputs_;
    std::vector<std::string> outputs_;
};

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

// Calls a function of the C API that creates an object; the owner releases it.
template <typename Object>
std::unique_ptr<Object, void (*)(Object*)> owned(OrtStatus* (*create)(Object**), void (*release)(Object*)) {
    Object* object = nullptr;
    Ort::ThrowOnError(create(&object));
    return {object, release};
}

class OrtBackend final : public Backend {
public:
    OrtBackend(const Options& options, int threads)
        : shared_(std::make_shared<Shared>()), threads_(threads), weights_(options.weights) {
        const auto full = kShortNames.find(lower_case(options.provider));
        provider_ = full == kShortNames.end() ? options.provider : full->second;
        shared_->library = load_ort(options.library);
        guarded("ONNX Runtime can't be used", [&] {
            const std::vector<std::string> offered = Ort::GetAvailableProviders();
            if (std::find(offered.begin(), offered.end(), provider_) == offered.end()) {
                fail(ErrorCode::backend, "this ONNX Runtime has no provider ", options.provider, "; it offers ",
                     joined(offered));
            }
            const OrtApi& api = Ort::GetApi();
            shared_->prepacked = owned(api.CreatePrepackedWeightsContainer, api.ReleasePrepackedWeightsContainer);
        });
        device_ = provider_.substr(0, provider_.rfind(kSuffix));
        description_ = text("ONNX Runtime ", shared_->library->version, ", ", device_, ", ", threads_, " threads");
    }

    const std::string& description() const override { return description_; }

    std::vector<std::string> precisions(const Bundle& bundle) const override { return bundle.manifest.precisions; }

    std::map<std::string, std::string> files(const Bundle& bundle, const std::string& precision) override {
        return bundle.checked_files(precision);
    }

    std::unique_ptr<Engine> open(const std::string& stage, const std::string& weights) override {
        return guarded("ONNX Runtime can't load " + stage, [&] {
            Ort::SessionOptions options;
            options.SetIntraOpNumThreads(threads_);
            options.SetLogSeverityLevel(3);
            // Threads that spin while a stage runs make it faster at batch 1; spinning on after it, they would take
            // the cores from the other stage's session and from decoding.
            options.AddConfigEntry("session.intra_op.allow_spinning", "1");
            options.AddConfigEntry("session.force_spinning_stop", "1");
            // On x86 without VNNI or AMX, byte products would be summed in 16 bits, which full-range weights overflow.
            options.AddConfigEntry("session.x64quantprecision", "1");
            if (weights_ == Weights::mapped) {
                options.AddConfigEntry("session.disable_prepacking", "1");
            }
            append_provider(options);
            share_weights(options, stage, weights);
            Ort::Session session(shared_->library->env, stage.c_str(), options, shared_->prepacked.get());
            if (weights_ == Weights::packed) {
                // The engines now read their packed copy. Pages that they still need are read from the file again.
                for (const auto& [path, file] : shared_->files) {
                    file->release();
                }
            }
            return std::make_unique<OrtEngine>(shared_, std::move(session),
                                               std::filesystem::path(stage).filename().string());
        });
    }

private:
    // Unlike Python's binding, the C API fails where a provider can't be loaded instead of falling back to the CPU.
    void append_provider(Ort::SessionOptions& options) const {
        if (provider_ == "CPUExecutionProvider") {
            return;
        }
        const OrtApi& api = Ort::GetApi();
        if (provider_ == "CUDAExecutionProvider") {
            options.AppendExecutionProvider_CUDA_V2(
                *owned(api.CreateCUDAProviderOptions, api.ReleaseCUDAProviderOptions));
        } else if (provider_ == "TensorrtExecutionProvider") {
            options.AppendExecutionProvider_TensorRT_V2(
                *owned(api.CreateTensorRTProviderOptions, api.ReleaseTensorRTProviderOptions));
        } else {
            options.AppendExecutionProvider(device_);
        }
    }

    // Passes the session the weights in the weights file, so that both sessions read the same memory. Only on the
    // CPU: another device has memory of its own.
    void share_weights(Ort::SessionOptions& options, const std::string& stage, const std::string& weights) {
        if (weights.empty() || provider_ != "CPUExecutionProvider") {
            return;
        }
        const std::string location = std::filesystem::path(weights).filename().string();
        std::shared_ptr<MappedFile>& file = shared_->files[weights];
        if (!file) {
            file = std::make_shared<MappedFile>(weights, ErrorCode::backend);
        }
        const MappedFile model(stage, ErrorCode::backend);
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        for (const ExternalTensor& tensor : external_tensors(model.bytes(), stage)) {
            const std::size_t size = file->bytes().size();
            if (tensor.location != location || tensor.offset > size || tensor.length > size - tensor.offset) {
                continue;  // the session reports the error
            }
            std::string key =
                text(weights, ' ', tensor.offset, ' ', tensor.length, ' ', tensor.type, ' ', joined(tensor.shape));
            auto shared = shared_->tensors.find(key);
            if (shared == shared_->tensors.end()) {
                Ort::Value value = Ort::Value::CreateTensor(memory, static_cast<char*>(file->data()) + tensor.offset,
                                                            tensor.length, tensor.shape.data(), tensor.shape.size(),
                                                            static_cast<ONNXTensorElementDataType>(tensor.type));
                shared = shared_->tensors.emplace(std::move(key), std::move(value)).first;
            }
            options.AddInitializer(tensor.name.c_str(), shared->second);
        }
    }

    std::shared_ptr<Shared> shared_;
    int threads_;
    Weights weights_;
    std::string provider_, device_, description_;
};

}  // namespace

std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads) {
    return std::make_unique<OrtBackend>(options, threads);
}

}  // namespace sacvit::detail
