#include "backends/device_name.hpp"
#include "backends/engine.hpp"
#include "text.hpp"

namespace sacvit::detail {

std::unique_ptr<Backend> open_backend(const Options& options, int threads) {
    if (options.backend == "onnxruntime") {
        return open_ort_backend(options, threads);
    }
    if (options.backend != "tensorrt") {
        fail(ErrorCode::backend, "unknown backend '", options.backend, "'; there are: onnxruntime, tensorrt");
    }
    const DeviceName device = parse_device(options.device);
    if (!options.device.empty() && (device.provider != "cuda" || device.number != 0)) {
        fail(ErrorCode::usage, "tensorrt runs on the first GPU, --device cuda, not on ", options.device,
             "; CUDA_VISIBLE_DEVICES=N makes another one the first");
    }
#if defined(SACVIT_TENSORRT)
    return open_trt_backend();
#else
    fail(ErrorCode::backend, "this libsacvit was built without TensorRT; build it with -DSACVIT_TENSORRT=ON where ",
         "NvInfer.h is");
#endif
}

}  // namespace sacvit::detail
