#include <map>
#include <string>

#include "backends/tensorrt/trt_engine.hpp"
#include "bundle/plans.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// The library's number, such as 100300, as people write it.
std::string dotted(std::int32_t version) { return text(version / 10000, '.', version / 100 % 100, '.', version % 100); }

class TrtBackend final : public Backend {
public:
    TrtBackend() : library_(std::make_shared<TrtLibrary>()) {
        const Gpu gpu = find_gpu();
        here_ = {"tensorrt", dotted(getInferLibVersion()), gpu.name, gpu.capability};
        library_->title = "TensorRT " + here_.version;
        description_ = text(library_->title, ", ", gpu.name);
        const OnFirstGpu here;
        clear_errors();
        library_->runtime.reset(nvinfer1::createInferRuntime(logger()));
        if (!library_->runtime) {
            fail(ErrorCode::backend, library_->title, " can't be started: ", last_error());
        }
    }

    const std::string& description() const override { return description_; }

    std::vector<std::string> precisions(const Bundle& bundle) const override {
        return precisions_with_plans(bundle, here_);
    }

    HeldFiles hold(const Bundle& bundle, const std::string& precision) override {
        return find_plans(bundle, precision, here_);
    }

    std::unique_ptr<Engine> open(const HeldFile& stage, const HeldFile*) override {
        return std::make_unique<TrtEngine>(library_, stage);
    }

private:
    std::shared_ptr<TrtLibrary> library_;
    BuildTarget here_;
    std::string description_;
};

}  // namespace

std::unique_ptr<Backend> open_trt_backend() { return std::make_unique<TrtBackend>(); }

}  // namespace sacvit::detail
