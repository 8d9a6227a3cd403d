#include "cuda.hpp"

#include <algorithm>

#include "errors.hpp"

namespace sacvit::detail {

void check_cuda(cudaError_t status, const char* call) {
    if (status == cudaSuccess) {
        return;
    }
    cudaGetLastError();  // what can be forgotten is: the process goes on
    const char* hint = status == cudaErrorMemoryAllocation ? "; ask for smaller batches"
                       : status == cudaErrorInsufficientDriver
                           ? "; there is no NVIDIA driver here, or it is older than these CUDA libraries need"
                       : status == cudaErrorNoDevice ? "; no NVIDIA GPU can be seen from here"
                                                     : "";
    fail(ErrorCode::backend, "CUDA: ", call, " failed, ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")",
         hint);
}

Gpu find_gpu() {
    int count = 0;
    check_cuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    if (count < 1) {
        fail(ErrorCode::backend, "there is no GPU 0 in this machine");
    }
    cudaDeviceProp facts{};
    check_cuda(cudaGetDeviceProperties(&facts, 0), "cudaGetDeviceProperties");
    return {facts.name, text(facts.major, '.', facts.minor)};
}

CudaStream::CudaStream() {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

CudaStream::~CudaStream() { cudaStreamDestroy(stream_); }

DeviceBuffer::~DeviceBuffer() { cudaFree(data_); }

void* DeviceBuffer::reserve(std::size_t bytes) {
    if (bytes > size_) {
        check_cuda(cudaFree(data_), "cudaFree");
        data_ = nullptr;
        size_ = 0;
        check_cuda(cudaMalloc(&data_, bytes), "cudaMalloc");
        size_ = bytes;
    }
    return data_;
}

PinnedPool::~PinnedPool() {
    for (const Block& block : free_) {
        cudaFreeHost(block.data);
    }
}

std::shared_ptr<void> PinnedPool::take(std::size_t bytes) {
    Block block{nullptr, bytes};
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto fits = [&](const Block& one) { return one.size >= bytes && one.size <= 2 * bytes; };
        const auto found = std::find_if(free_.begin(), free_.end(), fits);
        if (found != free_.end()) {
            block = *found;
            free_.erase(found);
        }
    }
    if (block.data == nullptr) {
        check_cuda(cudaHostAlloc(&block.data, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    }
    // The pool lives as long as a block that is out.
    return {block.data, [pool = shared_from_this(), block](void*) { pool->give_back(block); }};
}

void PinnedPool::give_back(Block block) {
    constexpr std::size_t kKept = 16;  // more than one stage's tensors, with another call's before it still read
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.size() >= kKept) {
        cudaFreeHost(free_.front().data);
        free_.erase(free_.begin());
    }
    free_.push_back(block);
}

}  // namespace sacvit::detail
