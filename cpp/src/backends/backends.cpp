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
    if (options.provider != "cpu") {
        fail(ErrorCode::usage, "--provider ", options.provider, " is ONNX Runtime's; tensorrt has none");
    }
#if defined(SACVIT_TENSORRT)
    return open_trt_backend();
#else
    fail(ErrorCode::backend, "this libsacvit was built without TensorRT; build it with -DSACVIT_TENSORRT=ON where ",
         "NvInfer.h is");
#endif
}

}  // namespace sacvit::detail
