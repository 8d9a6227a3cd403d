// The execution provider that a backend's sessions run on: built into the library, or a plugin's.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "backends/device_name.hpp"
#include "backends/onnxruntime/plugins.hpp"

namespace sacvit::detail {

class Provider {
public:
    // Finds the device that the options name. `cpu_as_gpu`: see open_ort_backend. Throws Error (usage, backend).
    Provider(std::shared_ptr<OrtLibrary> library, const Options& options, bool cpu_as_gpu);

    bool is_cpu() const { return device_.is_cpu(); }
    // The provider, and its version if it has its own, such as `CPU` or `WebGpu 0.4.0`.
    const std::string& title() const { return title_; }
    // Where tensors stay between engines: on CUDA's or a plugin's device; null where they come to the host.
    const OrtMemoryInfo* memory() const { return memory_; }
    // Whether it runs the engines laid out for a GPU, with the library's own operators: CUDA alone, as in Python.
    bool takes_gpu_layout() const { return device_.provider == "cuda" || cpu_as_gpu_; }
    // Whether it computes in half precision; asked of the device once.
    bool has_fp16() const { return has_fp16_; }
    // Why it can't run a precision, and what helps; empty where it can.
    std::string why_not(const std::string& precision) const;

    // Makes a session run on this provider. Unlike Python's binding, the C API fails where it can't be loaded instead
    // of falling back to the CPU.
    void append_to(Ort::SessionOptions& options) const;
    // To be held while a session is made, runs or is released, or memory of the device is, in all models of the
    // process: a plugin's sessions share a queue, and CUDA copies an input that is bound in a stream that the next call
    // of the session takes, whoever makes it.
    std::unique_lock<std::recursive_mutex> lock() const;

private:
    bool computes_fp16() const;

    std::shared_ptr<OrtLibrary> library_;
    DeviceName device_;
    bool cpu_as_gpu_;
    std::string title_;
    const OrtEpDevice* plugin_ = nullptr;  // null where the provider is built in
    Ort::MemoryInfo own_memory_{nullptr};  // of a built-in provider's device
    const OrtMemoryInfo* memory_ = nullptr;
    bool has_fp16_ = true;
};

}  // namespace sacvit::detail
