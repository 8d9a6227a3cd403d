// CUDA's memory and streams, given back by their destructors. Built with SACVIT_TENSORRT alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace sacvit::detail {

// Throws Error (backend) naming the call, unless it succeeded.
void check_cuda(cudaError_t status, const char* call);

// The first GPU. Throws Error (backend) if there is none, or no driver.
struct Gpu {
    std::string name;
    std::string capability;  // such as 8.7
};
Gpu find_gpu();

// A queue of work that does not wait for the default one.
class CudaStream {
public:
    CudaStream();
    ~CudaStream();
    CudaStream(const CudaStream&) = delete;
    CudaStream& operator=(const CudaStream&) = delete;
    operator cudaStream_t() const { return stream_; }

private:
    cudaStream_t stream_ = nullptr;
};

// Memory on the device that grows with what it has to hold.
class DeviceBuffer {
public:
    DeviceBuffer() = default;
    ~DeviceBuffer();
    DeviceBuffer(const DeviceBuffer&) = delete;
    DeviceBuffer& operator=(const DeviceBuffer&) = delete;
    // At least that many bytes; what it held is gone if it had to grow. Waits for the device then.
    void* reserve(std::size_t bytes);
    void* data() const { return data_; }

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

// Makes the first GPU this thread's for as long as it lives: what the program chose may be another.
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
