#include "ort_backend.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <vector>

#include "errors.hpp"
#include "files.hpp"
#include "onnx_weights.hpp"
#include "ort_library.hpp"

namespace sacvit::detail {
namespace {

const std::map<std::string, std::string> kShortNames = {{"cpu", "CPUExecutionProvider"},
                                                        {"cuda", "CUDAExecutionProvider"},
                                                        {"tensorrt", "TensorrtExecutionProvider"}};
constexpr const char* kSuffix = "ExecutionProvider";

std::string first_line(const std::exception& error) {
    const std::string said = error.what();
    return said.substr(0, std::min<std::size_t>(said.find('\n'), 200));
}

ElementType element_type(ONNXTensorElementDataType type, const std::string& where) {
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return ElementType::float32;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return ElementType::float16;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return ElementType::int64;
        default: fail(ErrorCode::backend, where, " has the element type ", static_cast<int>(type), ", which no engine has");
    }
}

ONNXTensorElementDataType onnx_type(ElementType type) {
    return type == ElementType::float32   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
           : type == ElementType::float16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                          : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}

struct Prepacked {
    void operator()(OrtPrepackedWeightsContainer* container) const {
        Ort::GetApi().ReleasePrepackedWeightsContainer(container);
    }
};
using PrepackedPointer = std::unique_ptr<OrtPrepackedWeightsContainer, Prepacked>;

// What all sessions of a backend hold in common. Its members must outlive the sessions, so each has a reference.
struct Shared {
    std::shared_ptr<OrtLibrary> library;
    std::map<std::string, std::shared_ptr<MappedFile>> files;  // weights files by path
    std::map<std::string, Ort::Value> tensors;                 // weights by file, place and type
    PrepackedPointer prepacked;
};

struct Input {
    std::string name;
    ElementType type;
};

// Values in another element type.
std::vector<std::byte> cast(const TensorView& from, ElementType type) {
    const std::size_t count = from.count();
    std::vector<std::byte> out(count * element_size(type));
    const auto* bytes = static_cast<const std::byte*>(from.data);
    for (std::size_t i = 0; i < count; ++i) {
        float value = 0;
        if (from.type == ElementType::float16) {
            std::uint16_t half;
            std::memcpy(&half, bytes + 2 * i, 2);
            value = Ort::Float16_t::FromBits(half).ToFloat();
        } else {
            std::memcpy(&value, bytes + 4 * i, 4);
        }
        if (type == ElementType::float16) {
            const std::uint16_t half = Ort::Float16_t(value).val;
            std::memcpy(&out[2 * i], &half, 2);
        } else {
            std::memcpy(&out[4 * i], &value, 4);
        }
    }
    return out;
}

class OrtEngine final : public Engine {
public:
    OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file)
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

    Outputs run(const std::map<std::string, TensorView>& inputs) const override {
        std::vector<std::vector<std::byte>> casts;
        std::vector<Ort::Value> values;
        std::vector<const char*> input_names, output_names;
        try {
            const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
            for (const Input& input : inputs_) {
                const auto given = inputs.find(input.name);
                if (given == inputs.end()) {
                    fail(ErrorCode::backend, file_, " asks for `", input.name, "`, which this stage is not given");
                }
                const TensorView& view = given->second;
                const void* data = view.data;
                if (view.type != input.type) {
                    if (view.type == ElementType::int64 || input.type == ElementType::int64) {
                        fail(ErrorCode::backend, file_, " takes `", input.name, "` in another element type");
                    }
                    casts.push_back(cast(view, input.type));
                    data = casts.back().data();
                }
                // The API takes no pointers to constant memory; an engine does not write to its inputs.
                values.push_back(Ort::Value::CreateTensor(memory, const_cast<void*>(data),
                                                          view.count() * element_size(input.type), view.shape.data(),
                                                          view.shape.size(), onnx_type(input.type)));
                input_names.push_back(input.name.c_str());
            }
            for (const std::string& name : outputs_) {
                output_names.push_back(name.c_str());
            }
            auto found = std::make_shared<std::vector<Ort::Value>>(
                const_cast<Ort::Session&>(session_).Run(Ort::RunOptions{nullptr}, input_names.data(), values.data(),
                                                        values.size(), output_names.data(), output_names.size()));
            Outputs out;
            for (std::size_t i = 0; i < found->size(); ++i) {
                const auto info = (*found)[i].GetTensorTypeAndShapeInfo();
                out.tensors[outputs_[i]] = {element_type(info.GetElementType(), file_),
                                            (*found)[i].GetTensorRawData(), info.GetShape()};
            }
            out.owner = std::move(found);
            return out;
        } catch (const Ort::Exception& error) {
            fail(ErrorCode::backend, file_, " failed in ONNX Runtime (", first_line(error), ")");
        }
    }

private:
    std::shared_ptr<Shared> shared_;
    Ort::Session session_;
    std::string file_;
    std::vector<Input> inputs_;
    std::vector<std::string> outputs_;
};

class OrtBackend final : public Backend {
public:
    OrtBackend(const Options& options, int threads)
        : shared_(std::make_shared<Shared>()), threads_(threads), weights_(options.weights) {
        std::string lower = options.provider;
        std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
        const auto full = kShortNames.find(lower);
        provider_ = full == kShortNames.end() ? options.provider : full->second;
        shared_->library = load_ort(options.library);
        const std::vector<std::string> offered = Ort::GetAvailableProviders();
        if (std::find(offered.begin(), offered.end(), provider_) == offered.end()) {
            std::string names;
            for (const std::string& name : offered) {
                names += (names.empty() ? "" : ", ") + name;
            }
            fail(ErrorCode::backend, "this ONNX Runtime has no provider ", options.provider, "; it offers ", names);
        }
        const std::size_t suffix = provider_.rfind(kSuffix);
        device_ = suffix == provider_.npos ? provider_ : provider_.substr(0, suffix);
        description_ = text("ONNX Runtime ", shared_->library->version, ", ", device_, ", ", threads_, " threads");
        OrtPrepackedWeightsContainer* container = nullptr;
        Ort::ThrowOnError(Ort::GetApi().CreatePrepackedWeightsContainer(&container));
        shared_->prepacked.reset(container);
    }

    const std::string& description() const override { return description_; }

    std::unique_ptr<Engine> open(const std::string& stage, const std::string& weights) override {
        try {
            Ort::SessionOptions options;
            options.SetIntraOpNumThreads(threads_);
            options.SetLogSeverityLevel(3);
            // Threads that spin while a stage runs make it faster at batch 1; spinning on after it, they would take
            // the cores from the other stage's session and from decoding.
            options.AddConfigEntry("session.intra_op.allow_spinning", "1");
            options.AddConfigEntry("session.force_spinning_stop", "1");
            if (weights_ == Weights::mapped) {
                options.AddConfigEntry("session.disable_prepacking", "1");
            }
            append_provider(options);
            share_weights(options, stage, weights);
            Ort::Session session(shared_->library->env, stage.c_str(), options, shared_->prepacked.get());
            if (weights_ == Weights::packed) {
                // The engines now read their packed copy; what they still need of the file they get from it again.
                for (const auto& [path, file] : shared_->files) {
                    file->release();
                }
            }
            return std::make_unique<OrtEngine>(shared_, std::move(session),
                                               std::filesystem::path(stage).filename().string());
        } catch (const Ort::Exception& error) {
            fail(ErrorCode::backend, "ONNX Runtime can't load ", stage, " (", first_line(error), ")");
        } catch (const std::system_error& error) {
            fail(ErrorCode::backend, "can't read ", stage, " or its weights: ", reason(error.code().value()));
        }
    }

private:
    // Unlike Python's binding, the C API fails where a provider can't be loaded: nothing falls back in silence.
    void append_provider(Ort::SessionOptions& options) const {
        if (provider_ == "CPUExecutionProvider") {
            return;
        }
        if (provider_ == "CUDAExecutionProvider") {
            OrtCUDAProviderOptionsV2* cuda = nullptr;
            Ort::ThrowOnError(Ort::GetApi().CreateCUDAProviderOptions(&cuda));
            const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> owner(
                cuda, [](OrtCUDAProviderOptionsV2* p) { Ort::GetApi().ReleaseCUDAProviderOptions(p); });
            options.AppendExecutionProvider_CUDA_V2(*cuda);
        } else if (provider_ == "TensorrtExecutionProvider") {
            OrtTensorRTProviderOptionsV2* tensorrt = nullptr;
            Ort::ThrowOnError(Ort::GetApi().CreateTensorRTProviderOptions(&tensorrt));
            const std::unique_ptr<OrtTensorRTProviderOptionsV2, void (*)(OrtTensorRTProviderOptionsV2*)> owner(
                tensorrt, [](OrtTensorRTProviderOptionsV2* p) { Ort::GetApi().ReleaseTensorRTProviderOptions(p); });
            options.AppendExecutionProvider_TensorRT_V2(*tensorrt);
        } else {
            options.AppendExecutionProvider(device_);
        }
    }

    // Hands the session the weights that stand in the weights file, so that both sessions read the same memory.
    // Only on the CPU: another device has its own memory.
    void share_weights(Ort::SessionOptions& options, const std::string& stage, const std::string& weights) {
        if (weights.empty() || provider_ != "CPUExecutionProvider") {
            return;
        }
        const std::string location = std::filesystem::path(weights).filename().string();
        std::shared_ptr<MappedFile>& file = shared_->files[weights];
        if (!file) {
            file = std::make_shared<MappedFile>(weights);
        }
        const MappedFile model(stage);
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        for (const ExternalTensor& tensor : external_tensors(model.bytes(), stage)) {
            const std::size_t size = file->bytes().size();
            if (tensor.location != location || tensor.offset > size || tensor.length > size - tensor.offset) {
                continue;  // ONNX Runtime says what is wrong with it
            }
            std::string key = text(weights, ' ', tensor.offset, ' ', tensor.length, ' ', tensor.type);
            for (const std::int64_t length : tensor.shape) {
                key += text(' ', length);
            }
            auto found = shared_->tensors.find(key);
            if (found == shared_->tensors.end()) {
                Ort::Value value = Ort::Value::CreateTensor(
                    memory, static_cast<char*>(file->data()) + tensor.offset, tensor.length, tensor.shape.data(),
                    tensor.shape.size(), static_cast<ONNXTensorElementDataType>(tensor.type));
                found = shared_->tensors.emplace(std::move(key), std::move(value)).first;
            }
            options.AddInitializer(tensor.name.c_str(), found->second);
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
