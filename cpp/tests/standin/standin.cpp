// Stand-ins for CUDA and TensorRT on the CPU: a plan names an ONNX file, which ONNX Runtime runs, and its profiles.
// The host can't read device addresses, and a stream's work is done when it is synchronised, no earlier.
#include "standin.hpp"

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/onnxruntime/ort_library.hpp"

namespace standin {
std::atomic<int> gpus{1}, contexts{0}, refuse_copies{0}, refuse_calls{0}, off_device{0};
std::atomic<bool> out_of_memory{false};
std::atomic<long> device_blocks{0};
}  // namespace standin

struct CUstream_st {
    std::vector<std::function<void()>> work;
};

namespace {

thread_local int chosen_device = 0;

constexpr std::uintptr_t kTag = std::uintptr_t{1} << 62;

bool on_device(const void* data) { return (reinterpret_cast<std::uintptr_t>(data) & kTag) != 0; }
char* real(const void* data) { return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(data) & ~kTag); }

}  // namespace

cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorInvalidValue";
}
const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
cudaError_t cudaGetDeviceCount(int* count) {
    *count = standin::gpus;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* facts, int) {
    std::strcpy(facts->name, "Stand-in");
    facts->major = 8;
    facts->minor = 7;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = chosen_device;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    chosen_device = device;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    standin::off_device += chosen_device != 0;
    *stream = new CUstream_st;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    for (const auto& work : stream->work) {
        work();
    }
    stream->work.clear();
    return cudaSuccess;
}
cudaError_t cudaMalloc(void** data, std::size_t bytes) {
    standin::off_device += chosen_device != 0;
    if (standin::out_of_memory) {
        return cudaErrorMemoryAllocation;
    }
    ++standin::device_blocks;
    *data = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(std::malloc(bytes)) | kTag);
    return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
    standin::device_blocks -= data != nullptr;
    std::free(real(data));
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const bool up = kind == cudaMemcpyHostToDevice;
    if (on_device(to) != up || on_device(from) == up) {
        return cudaErrorInvalidValue;
    }
    if (!up && standin::refuse_copies > 0 && --standin::refuse_copies == 0) {
        return cudaErrorInvalidValue;
    }
    // As late as CUDA may: the memory at both ends must still be there.
    stream->work.push_back([=] { std::memcpy(real(to), real(from), bytes); });
    return cudaSuccess;
}

extern "C" std::int32_t getInferLibVersion() noexcept { return 100300; }

namespace nvinfer1 {
namespace {

struct Tensor {
    std::string name;
    bool input;
    ONNXTensorElementDataType type;
    std::vector<std::int64_t> shape;
    std::vector<std::string> symbols;  // names of the open lengths
};

class Context final : public IExecutionContext {
public:
    Context(Ort::Session& session, const std::vector<Tensor>& tensors) : session_(session), tensors_(tensors) {
        ++standin::contexts;
    }
    ~Context() noexcept override { --standin::contexts; }

    bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t) noexcept override { return profile >= 0; }

    bool setInputShape(const char* name, const Dims& dims) noexcept override {
        const Tensor& tensor = find(name);
        for (std::int32_t i = 0; i < dims.nbDims; ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (tensor.shape[at] < 0) {
                lengths_[tensor.symbols[at]] = dims.d[i];
            } else if (tensor.shape[at] != dims.d[i]) {
                return false;
            }
        }
        return tensor.shape.size() == static_cast<std::size_t>(dims.nbDims);
    }

    Dims getTensorShape(const char* name) const noexcept override {
        const Tensor& tensor = find(name);
        Dims out{};
        for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
            const auto open = lengths_.find(tensor.symbols[i]);
            out.d[out.nbDims++] = tensor.shape[i] >= 0 ? tensor.shape[i] : open == lengths_.end() ? -1 : open->second;
        }
        return out;
    }

    bool setTensorAddress(const char* name, void* data) noexcept override {
        addresses_[name] = data;
        return on_device(data);
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        if (standin::refuse_calls > 0) {
            --standin::refuse_calls;
            return false;
        }
        stream->work.push_back([this] { run(); });
        return true;
    }

private:
    const Tensor& find(const std::string& name) const {
        for (const Tensor& tensor : tensors_) {
            if (tensor.name == name) {
                return tensor;
            }
        }
        std::abort();
    }

    void run() {
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        std::vector<Ort::Value> values[2];
        std::vector<const char*> names[2];
        for (const Tensor& tensor : tensors_) {
            const Dims dims = getTensorShape(tensor.name.c_str());
            std::size_t bytes = tensor.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT     ? 4
                                : tensor.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? 2
                                                                                       : 8;
            for (std::int32_t i = 0; i < dims.nbDims; ++i) {
                bytes *= static_cast<std::size_t>(dims.d[i]);
            }
            values[tensor.input].push_back(
                Ort::Value::CreateTensor(memory, static_cast<void*>(real(addresses_.at(tensor.name))), bytes, dims.d,
                                         static_cast<std::size_t>(dims.nbDims), tensor.type));
            names[tensor.input].push_back(tensor.name.c_str());
        }
        session_.Run(Ort::RunOptions{nullptr}, names[1].data(), values[1].data(), values[1].size(), names[0].data(),
                     values[0].data(), values[0].size());
    }

    Ort::Session& session_;
    const std::vector<Tensor>& tensors_;
    std::map<std::string, std::int64_t> lengths_;
    std::map<std::string, void*> addresses_;
};

class Engine final : public ICudaEngine {
public:
    Engine(std::shared_ptr<sacvit::detail::OrtLibrary> library, nlohmann::json plan)
        : library_(std::move(library)),
          plan_(std::move(plan)),
          session_(library_->env, plan_.at("onnx").get<std::string>().c_str(), settings()) {
        const Ort::AllocatorWithDefaultOptions allocator;
        for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
            add(session_.GetInputNameAllocated(i, allocator).get(), true, session_.GetInputTypeInfo(i));
        }
        for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
            add(session_.GetOutputNameAllocated(i, allocator).get(), false, session_.GetOutputTypeInfo(i));
        }
    }

    std::int32_t getNbIOTensors() const noexcept override { return static_cast<std::int32_t>(tensors_.size()); }
    const char* getIOTensorName(std::int32_t index) const noexcept override {
        return tensors_[static_cast<std::size_t>(index)].name.c_str();
    }
    DataType getTensorDataType(const char* name) const noexcept override {
        const auto type = find(name).type;
        return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT     ? DataType::kFLOAT
               : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? DataType::kHALF
                                                               : DataType::kINT64;
    }
    TensorIOMode getTensorIOMode(const char* name) const noexcept override {
        return find(name).input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    std::int32_t getNbOptimizationProfiles() const noexcept override {
        return static_cast<std::int32_t>(plan_.at("profiles").size());
    }
    Dims getProfileShape(const char* name, std::int32_t profile, OptProfileSelector which) const noexcept override {
        Dims out{};
        for (const std::int64_t length :
             plan_["profiles"][static_cast<std::size_t>(profile)][name][which == OptProfileSelector::kMIN ? 0 : 2]) {
            out.d[out.nbDims++] = length;
        }
        return out;
    }
    IExecutionContext* createExecutionContext() noexcept override { return new Context(session_, tensors_); }

private:
    static Ort::SessionOptions settings() {
        Ort::SessionOptions out;
        out.SetIntraOpNumThreads(1);
        return out;
    }
    void add(const char* name, bool input, const Ort::TypeInfo& info) {
        const auto tensor = info.GetTensorTypeAndShapeInfo();
        Tensor out{name, input, tensor.GetElementType(), tensor.GetShape(), {}};
        std::vector<const char*> symbols(out.shape.size());
        tensor.GetSymbolicDimensions(symbols.data(), symbols.size());
        out.symbols.assign(symbols.begin(), symbols.end());
        tensors_.push_back(std::move(out));
    }
    const Tensor& find(const std::string& name) const {
        for (const Tensor& tensor : tensors_) {
            if (tensor.name == name) {
                return tensor;
            }
        }
        std::abort();
    }

    std::shared_ptr<sacvit::detail::OrtLibrary> library_;
    nlohmann::json plan_;
    Ort::Session session_;
    std::vector<Tensor> tensors_;
};

class Runtime final : public IRuntime {
public:
    explicit Runtime(ILogger& logger) : logger_(logger), library_(sacvit::detail::load_ort("")) {}

    ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) noexcept override {
        try {
            return new Engine(library_, nlohmann::json::parse(std::string(static_cast<const char*>(blob), size)));
        } catch (const std::exception&) {
            logger_.log(ILogger::Severity::kWARNING, "a warning");
            logger_.log(ILogger::Severity::kERROR, "the plan names no engine\nand a second line");
            logger_.log(ILogger::Severity::kERROR, "so it was not loaded");
            return nullptr;
        }
    }

private:
    ILogger& logger_;
    std::shared_ptr<sacvit::detail::OrtLibrary> library_;
};

}  // namespace

IRuntime* createInferRuntime(ILogger& logger) noexcept { return new Runtime(logger); }

}  // namespace nvinfer1
