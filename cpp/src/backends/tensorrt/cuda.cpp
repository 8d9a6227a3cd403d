#include "backends/tensorrt/cuda.hpp"

#include "text.hpp"

namespace sacvit::detail {

void check_cuda(cudaError_t status, const char* call) {
    if (status == cudaSuccess) {
        return;
    }
    cudaGetLastError();  // clears an error that is not sticky: the process goes on
    const char* hint = status == cudaErrorMemoryAllocation ? "; ask for smaller batches"
                       : status == cudaErrorInsufficientDriver
                           ? "; there is no NVIDIA driver here, or it is older than these CUDA libraries need"
                       : status == cudaErrorNoDevice ? "; no NVIDIA GPU can be seen from here"
                                                     : "";
    fail(ErrorCode::backend, "CUDA: ", call, " failed, ", cudaGetErrorString(status), " (", cudaGetErrorName(status),
         ")", hint);
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

CudaStream create_stream() {
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return {stream, cudaStreamDestroy};
}

void* DeviceBuffer::reserve(std::size_t bytes) {
    if (bytes > size_) {
        data_.reset();
        size_ = 0;
        void* data = nullptr;
        check_cuda(cudaMalloc(&data, bytes), "cudaMalloc");
        data_ = {data, cudaFree};
        size_ = bytes;
    }
    return data_.get();
}

OnFirstGpu::OnFirstGpu() {
    check_cuda(cudaGetDevice(&before_), "cudaGetDevice");
    check_cuda(cudaSetDevice(0), "cudaSetDevice");
}

OnFirstGpu::~OnFirstGpu() { cudaSetDevice(before_); }

}  // namespace sacvit::detail
