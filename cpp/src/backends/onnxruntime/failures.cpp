#include "backends/onnxruntime/failures.hpp"

#include <string_view>

#include "text.hpp"

namespace sacvit::detail {

std::string no_adapter() {
    return "WebGPU finds no GPU: on Linux it needs the Vulkan loader (libvulkan.so.1) and the GPU's Vulkan driver; for "
           "a "
           "driver in software, set ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1";
}

bool lacks_fp16(const std::string& message) { return message.find("requires f16 but the device") != message.npos; }

std::string device_failure(const std::string& message) {
    const std::string lower = lower_case(message);
    const auto says = [&](const char* words) { return lower.find(words) != lower.npos; };
    if (lacks_fp16(message)) {
        return "this GPU has no fp16 shaders; take --precision fp32, of a bundle that this version exported";
    }
    if (says("webgpu adapter")) {
        return no_adapter();
    }
    constexpr std::string_view cause = " with error: ";
    if (const std::size_t at = message.find(cause); at != message.npos && says("failed to load library")) {
        return "the provider's library can't load (" + first_line(message.substr(at + cause.size())) +
               "); CUDA's libraries and cuDNN come with Python's onnxruntime-gpu[cuda,cudnn], whose folders "
               "nvidia/*/lib belong in LD_LIBRARY_PATH, libcuda with NVIDIA's driver";
    }
    if (says("driver version is insufficient") || says("no cuda-capable device")) {
        return "there is no NVIDIA GPU here, or its driver is older than this CUDA";
    }
    // A buffer beyond the GPU's memory or limits becomes an invalid one, which the next call on it is told.
    const bool no_buffer = says("invalid buffer") || says("max buffer size limit") || says("buffer binding size");
    if (no_buffer || says("out of memory") || says("out_of_device_memory") || says("out_of_host_memory")) {
        return "the GPU's memory, or the size that it allows a tensor, is not enough; ask for smaller batches "
               "(--batch)";
    }
    if (says("device lost") || says("device_lost") || says("device is lost") || says("device was lost")) {
        return "the GPU was lost, by a reset or a driver's restart; start the process again";
    }
    return {};
}

}  // namespace sacvit::detail
