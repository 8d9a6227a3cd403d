#include "backends/backends.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include "backends/onnxruntime/ort_engine.hpp"
#include "bundle/bundle.hpp"
#include "bundle/onnx_weights.hpp"
#include "errors.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

const std::map<std::string, std::string> kShortNames = {
    {"cpu", "CPUExecutionProvider"}, {"cuda", "CUDAExecutionProvider"}, {"tensorrt", "TensorrtExecutionProvider"}};
constexpr const char* kSuffix = "ExecutionProvider";

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
            std::string key = text(weights, ' ', tensor.offset, ' ', tensor.length, ' ', tensor.type);
            for (const std::int64_t length : tensor.shape) {
                key += text(' ', length);
            }
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
