#include "backends/onnxruntime/providers.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "backends/onnxruntime/small_graphs.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

std::string without_suffix(const std::string& provider) {
    return provider.substr(0, provider.rfind("ExecutionProvider"));
}

}  // namespace

Provider::Provider(std::shared_ptr<OrtLibrary> library, const Options& options, bool cpu_as_gpu)
    : library_(std::move(library)), device_(parse_device(options.device)), cpu_as_gpu_(cpu_as_gpu) {
    guarded("ONNX Runtime can't be used", [&] {
        const std::vector<std::string> offered = Ort::GetAvailableProviders();
        const auto built_in = std::find_if(offered.begin(), offered.end(), [&](const std::string& provider) {
            return device_of(provider) == device_.provider;
        });
        if (built_in != offered.end()) {
            title_ = without_suffix(*built_in);
            if (takes_gpu_layout()) {
                const char* const place = is_cpu() ? "Cpu" : "Cuda";  // as the library names them
                own_memory_ = Ort::MemoryInfo(place, OrtDeviceAllocator, device_.number, OrtMemTypeDefault);
                memory_ = own_memory_;
            }
            return;
        }
        if (device_.provider == "cuda") {  // as a plugin, the library that GPU builds have crashes in some releases
            fail(ErrorCode::backend, "this ONNX Runtime has no provider cuda; it offers ", joined(offered),
                 "; a build for NVIDIA's GPUs has it, such as Python's package onnxruntime-gpu");
        }
        const bool plugins = runs_plugins(*library_);
        std::vector<const OrtEpDevice*> devices;
        if (plugins) {
            devices = find_plugin(library_, device_.provider, options.ep_library);
        }
        if (devices.empty()) {
            fail(ErrorCode::backend, "this ONNX Runtime has no provider ", options.device, "; it offers ",
                 joined(offered),
                 plugins ? text(", and plugins, whose library is named with --ep or $SACVIT_EP_LIBRARY (webgpu's is in "
                                "Python's "
                                "package onnxruntime-ep-webgpu)")
                         : text("; plugins such as webgpu need 1.23 or later, this is ", library_->version));
        }
        const auto number = static_cast<std::size_t>(device_.number);
        if (number >= devices.size()) {
            fail(ErrorCode::backend, device_.provider, " sees ", devices.size(), " devices here; there is no number ",
                 number);
        }
        plugin_ = devices[number];
        const PluginApi api = plugin_api();
        constexpr int on_device = 0;  // not memory of the host that the device reaches
        memory_ = api.memory(plugin_, on_device);
        title_ = without_suffix(api.name(plugin_));
        if (const char* version = api.value(api.metadata(plugin_), "version")) {
            title_ += text(' ', version);
        }
        has_fp16_ = computes_fp16();
    });
}

void Provider::append_to(Ort::SessionOptions& options) const {
    const OrtApi& api = Ort::GetApi();
    if (plugin_ != nullptr) {
        // Off by default: positions and targets are int64, and would go to the processor and back.
        const char *const keys[] = {"enableInt64"}, *const values[] = {"1"};
        Ort::ThrowOnError(
            plugin_api().append(options, library_->env, &plugin_, 1, keys, values, device_.provider == "webgpu"));
    } else if (device_.provider == "cuda") {
        const auto cuda = owned(api.CreateCUDAProviderOptions, api.ReleaseCUDAProviderOptions);
        const std::string number = std::to_string(device_.number);
        // TF32, on by default, computes products of fp32 tensors with ten bits: not what the file says. Of some
        // releases, SkipLayerNormalization sums up in half precision unless it is told not to.
        const char* const keys[] = {"device_id", "use_tf32", "enable_skip_layer_norm_strict_mode"};
        const char* const values[] = {number.c_str(), "0", "1"};
        Ort::ThrowOnError(api.UpdateCUDAProviderOptions(cuda.get(), keys, values, std::size(keys)));
        options.AppendExecutionProvider_CUDA_V2(*cuda);
    } else if (device_.provider == "tensorrt") {
        options.AppendExecutionProvider_TensorRT_V2(
            *owned(api.CreateTensorRTProviderOptions, api.ReleaseTensorRTProviderOptions));
    } else if (!is_cpu()) {
        options.AppendExecutionProvider(title_);
    }
}

std::string Provider::why_not(const std::string& precision) const {
    if (device_.provider == "webgpu" && precision == "int8") {
        return "this provider has no int8 products; take fp16 or fp32";
    }
    return precision == "fp16" && !has_fp16_ ? "this adapter has no fp16 shaders; take --precision fp32" : "";
}

std::unique_lock<std::recursive_mutex> Provider::lock() const {
    static std::recursive_mutex queue;
    return memory_ == nullptr ? std::unique_lock<std::recursive_mutex>() : std::unique_lock(queue);
}

bool Provider::computes_fp16() const {
    const auto locked = lock();
    Ort::SessionOptions options;
    options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
    append_to(options);
    const std::string graph = half_precision_graph();
    Ort::Session session(library_->env, graph.data(), graph.size(), options);
    Ort::Float16_t number(1.0f);
    const std::int64_t length = 1;
    const Ort::Value input = Ort::Value::CreateTensor<Ort::Float16_t>(
        Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault), &number, 1, &length, 1);
    const char *const in = kGraphInput, *const out = kGraphOutput;
    try {
        session.Run(Ort::RunOptions{nullptr}, &in, &input, 1, &out, 1);
        return true;
    } catch (const Ort::Exception& error) {
        if (!lacks_fp16(error.what())) {
            throw;
        }
        return false;
    }
}

}  // namespace sacvit::detail
