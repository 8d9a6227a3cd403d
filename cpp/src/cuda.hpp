// CUDA's memory and streams, given back by their destructors. Built with SACVIT_TENSORRT alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

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

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

// Page-locked blocks, which are slow to get: one that nobody needs any more is handed out again.
class PinnedPool : public std::enable_shared_from_this<PinnedPool> {
public:
    ~PinnedPool();
    std::shared_ptr<void> take(std::size_t bytes);

private:
    struct Block {
        void* data;
        std::size_t size;
    };
    void give_back(Block block);

    std::mutex mutex_;
    std::vector<Block> free_;
};

}  // namespace sacvit::detail
