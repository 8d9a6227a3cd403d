// ONNX Runtime behind the interface of backends.
#if defined(__linux__)
#include <malloc.h>
#endif

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "backends/engine.hpp"
#include "backends/onnxruntime/ort_engine.hpp"
#include "backends/onnxruntime/ort_memory.hpp"
#include "bundle/bundle.hpp"
#include "bundle/onnx_weights.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// glibc would keep what the library's copies of weights took while a session was made, as much again as the weights.
void give_back_memory() {
#if defined(__GLIBC__)
    ::malloc_trim(0);
#endif
}

bool is_shared(const ExternalTensor& tensor) {
    return tensor.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && tensor.shape.size() >= 2;
}

// Whether most of the weights can be shared: all but a few of an fp32 variant's, few of another's.
bool worth_sharing(const std::vector<ExternalTensor>& tensors) {
    std::uint64_t shared = 0, rest = 0;
    for (const ExternalTensor& tensor : tensors) {
        (is_shared(tensor) ? shared : rest) += tensor.length;
    }
    return shared > rest;
}

class OrtBackend final : public Backend {
public:
    OrtBackend(const Options& options, int threads, bool cpu_as_gpu)
        : shared_(std::make_shared<Shared>()), threads_(threads), weights_(options.weights) {
        shared_->library = load_ort(options.library);
        shared_->provider = std::make_unique<Provider>(shared_->library, options, cpu_as_gpu);
        guarded("ONNX Runtime can't be used", [&] {
            const OrtApi& api = Ort::GetApi();
            shared_->prepacked = owned(api.CreatePrepackedWeightsContainer, api.ReleasePrepackedWeightsContainer);
        });
        const Provider& provider = *shared_->provider;
        if (provider.memory() != nullptr) {
            memory_ = std::make_unique<OrtMemory>(shared_);
        }
        description_ = text("ONNX Runtime ", shared_->library->version, ", ", provider.title(),
                            provider.has_fp16() ? "" : " without fp16 shaders", ", ", threads_, " threads");
    }

    const std::string& description() const override { return description_; }

    std::vector<std::string> precisions(const Bundle& bundle) const override {
        std::vector<std::string> out;
        const std::vector<std::string>& all = bundle.manifest.precisions;
        std::copy_if(all.begin(), all.end(), std::back_inserter(out),
                     [&](const std::string& precision) { return shared_->provider->why_not(precision).empty(); });
        return out;
    }

    HeldFiles hold(const Bundle& bundle, const std::string& precision) override {
        if (const std::string reason = shared_->provider->why_not(precision); !reason.empty()) {
            fail(ErrorCode::backend, shared_->provider->title(), " can't run ", precision, ": ", reason);
        }
        std::set<std::string> roles{"ee", "sac", "weights"};
        if (memory_) {
            roles.insert({"view", "gather"});
        }
        return bundle.hold(precision, roles, shared_->provider->takes_gpu_layout());
    }

    DeviceMemory* memory() override { return memory_.get(); }

    std::unique_ptr<Engine> open(const HeldFile& stage, const HeldFile* weights) override {
        if (stage.pages->size() > std::numeric_limits<std::int32_t>::max()) {
            fail(ErrorCode::backend, stage.path, " is larger than 2 GB, the limit of the ONNX format");
        }
        const std::vector<ExternalTensor> tensors =
            external_tensors(stage.bytes(), stage.path, weights == nullptr ? "" : weights->name,
                             weights == nullptr ? 0 : weights->pages->size());
        return guarded("ONNX Runtime can't load " + stage.path, [&] {
            // Another device has memory of its own.
            if (shared_->provider->is_cpu() && worth_sharing(tensors)) {
                try {
                    return create(stage, weights, tensors, true);
                } catch (const Ort::Exception&) {  // an optimiser of this version may want to read what is shared
                }
            }
            return create(stage, weights, tensors, false);
        });
    }

private:
    // Creates the session of a stage. With `share`, both stages read the same weights.
    std::unique_ptr<Engine> create(const HeldFile& stage, const HeldFile* weights,
                                   const std::vector<ExternalTensor>& tensors, bool share) {
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(threads_);
        options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
        // Threads that spin while a stage runs make it faster at batch 1; spinning on after it, they would take the
        // cores from the other stage's session and from decoding.
        options.AddConfigEntry("session.intra_op.allow_spinning", "1");
        options.AddConfigEntry("session.force_spinning_stop", "1");
        // On x86 without VNNI or AMX, byte products would be summed in 16 bits, which full-range weights overflow.
        options.AddConfigEntry("session.x64quantprecision", "1");
        options.AddConfigEntry("session.load_model_format", "ONNX");
        if (weights_ == Weights::mapped) {
            options.AddConfigEntry("session.disable_prepacking", "1");
        }
        const auto locked = shared_->provider->lock();
        shared_->provider->append_to(options);
        std::string model;
        if (share) {
            model = share_weights(options, stage, *weights, tensors);
        } else if (!tensors.empty()) {
            options.AddExternalInitializersFromFilesInMemory({weights->name}, {weights->pages->data()},
                                                             {weights->pages->size()});
        }
        const std::string_view bytes = share ? model : stage.bytes();
        Ort::Session session(shared_->library->env, bytes.data(), bytes.size(), options, shared_->prepacked.get());
        give_back_memory();
        return std::make_unique<OrtEngine>(shared_, std::move(session), stage.name);
    }

    // Passes the session the fp32 matrices, nearly all of an fp32 variant, where they are: both sessions read the same
    // memory, and pack it once. All other weights go into the model that is returned, for the library's optimisers to
    // read and change.
    std::string share_weights(Ort::SessionOptions& options, const HeldFile& stage, const HeldFile& weights,
                              const std::vector<ExternalTensor>& tensors) {
        std::set<std::string> names;
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        for (const ExternalTensor& tensor : tensors) {
            if (!is_shared(tensor)) {
                continue;
            }
            std::string key = text(tensor.offset, ' ', tensor.length, ' ', joined(tensor.shape));
            auto shared = shared_->tensors.find(key);
            if (shared == shared_->tensors.end()) {
                Ort::Value value = Ort::Value::CreateTensor(memory, weights.pages->data() + tensor.offset,
                                                            tensor.length, tensor.shape.data(), tensor.shape.size(),
                                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
                shared = shared_->tensors.emplace(std::move(key), std::move(value)).first;
            }
            options.AddInitializer(tensor.name.c_str(), shared->second);
            names.insert(tensor.name);
        }
        shared_->weights = weights.pages;
        // In the model they stay external: the library wants their file to be there, though it doesn't read it. So it
        // is one that always is there, and is empty.
        options.AddConfigEntry("session.model_external_initializers_file_folder_path", "/dev");
        return with_weights(stage.bytes(), weights.bytes(), names, "null");
    }

    std::shared_ptr<Shared> shared_;
    int threads_;
    Weights weights_;
    std::unique_ptr<OrtMemory> memory_;
    std::string description_;
};

}  // namespace

std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads, bool cpu_as_gpu) {
    return std::make_unique<OrtBackend>(options, threads, cpu_as_gpu);
}

}  // namespace sacvit::detail
