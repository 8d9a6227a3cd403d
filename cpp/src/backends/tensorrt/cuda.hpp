// CUDA's memory and streams, given back by their destructors. Built with SACVIT_TENSORRT alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

namespace sacvit::detail {

// Throws Error (backend) naming the call, unless it succeeded.
void check_cuda(cudaError_t status, const char* call);

struct Gpu {
    std::string name;
    std::string capability;  // such as 8.7
};
// The first GPU. Throws Error (backend) if there is none, or no driver.
Gpu find_gpu();

// A stream that does not wait for the default stream.
using CudaStream = std::shared_ptr<std::remove_pointer_t<cudaStream_t>>;
CudaStream create_stream();

// Device memory that grows with the largest tensor it has held.
class DeviceBuffer {
public:
    // At least that many bytes. Growing loses the contents, and waits for the device.
    void* reserve(std::size_t bytes);
    void* data() const { return data_.get(); }

private:
    std::shared_ptr<void> data_;
    std::size_t size_ = 0;
};

// Selects the first GPU in this thread while it lives, and then the one that the program had selected.
class OnFirstGpu {
public:
    OnFirstGpu();
    ~OnFirstGpu();
    OnFirstGpu(const OnFirstGpu&) = delete;
    OnFirstGpu& operator=(const OnFirstGpu&) = delete;

private:
    int before_ = 0;
};

}  // namespace sacvit::detail
