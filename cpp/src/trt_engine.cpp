#include "trt_engine.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "convert.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "trt_log.hpp"

namespace sacvit::detail {
namespace {

constexpr int kMostLanes = 4;  // threads at once; each takes a context's memory for every profile it uses

ElementType element_type(nvinfer1::DataType type, const std::string& name) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT: return ElementType::float32;
        case nvinfer1::DataType::kHALF: return ElementType::float16;
        case nvinfer1::DataType::kINT64: return ElementType::int64;
        default: fail(ErrorCode::backend, "the plan's `", name, "` is of a type which no engine of a bundle has");
    }
}

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims out{};
    out.nbDims = static_cast<std::int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), out.d);
    return out;
}

Shape shape_of(const nvinfer1::Dims& dims) { return {dims.d, dims.d + std::max(dims.nbDims, 0)}; }

// What keeps the memory of a call's outputs.
using Owner = std::vector<std::vector<std::byte>>;

}  // namespace

// What one thread at a time works with: its queue, a context for each profile, memory for each tensor.
struct TrtEngine::Lane {
    CudaStream stream;
    std::map<std::size_t, std::unique_ptr<nvinfer1::IExecutionContext>> contexts;
    std::map<std::string, DeviceBuffer> buffers;
};

// Some rows of a batch.
struct TrtEngine::Part {
    std::int64_t first, rows, batch;

    std::size_t row_bytes(const TensorView& view) const {
        return view.count() * element_size(view.type) / static_cast<std::size_t>(batch);
    }
    std::size_t bytes(const TensorView& view) const { return row_bytes(view) * static_cast<std::size_t>(rows); }
    // Where its rows begin; an output's memory is ours to write to.
    void* begin(const TensorView& view) const {
        return static_cast<char*>(const_cast<void*>(view.data)) + row_bytes(view) * static_cast<std::size_t>(first);
    }
};

// A lane for the time of one call; waits for one where all are taken.
class TrtEngine::Borrowed {
public:
    explicit Borrowed(const TrtEngine& engine) : engine_(engine) {
        std::unique_lock<std::mutex> lock(engine.mutex_);
        engine.returned_.wait(lock, [&] { return !engine.idle_.empty() || engine.lanes_ < kMostLanes; });
        if (!engine.idle_.empty()) {
            lane_ = std::move(engine.idle_.back());
            engine.idle_.pop_back();
        } else {
            lane_ = std::make_unique<Lane>();
            engine.idle_.reserve(kMostLanes);  // so that giving back can't fail
            ++engine.lanes_;
        }
    }
    ~Borrowed() {
        {
            const std::lock_guard<std::mutex> lock(engine_.mutex_);
            engine_.idle_.push_back(std::move(lane_));
        }
        engine_.returned_.notify_one();
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    Lane& operator*() const { return *lane_; }

private:
    const TrtEngine& engine_;
    std::unique_ptr<Lane> lane_;
};

TrtEngine::TrtEngine(std::shared_ptr<TrtLibrary> library, const std::string& path)
    : library_(std::move(library)), file_(std::filesystem::path(path).filename().string()) {
    std::string bytes;
    try {
        const File file(path);
        bytes = file.read(file.size());
    } catch (const std::system_error& error) {
        fail(ErrorCode::backend, "can't read ", path, ": ", reason(error.code().value()));
    }
    const OnFirstGpu here;
    forget();
    engine_.reset(library_->runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    if (!engine_) {
        fail(ErrorCode::backend, library_->title, " can't load ", path, ": ", last_error());
    }
    read_interface();
}

TrtEngine::~TrtEngine() = default;

void TrtEngine::read_interface() {
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
        const char* name = engine_->getIOTensorName(i);
        const bool input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        (input ? inputs_ : outputs_).push_back({name, element_type(engine_->getTensorDataType(name), name)});
    }
    for (std::int32_t number = 0; number < engine_->getNbOptimizationProfiles(); ++number) {
        Profile profile;
        for (const Tensor& tensor : inputs_) {
            const auto limit = [&](nvinfer1::OptProfileSelector which) {
                return shape_of(engine_->getProfileShape(tensor.name.c_str(), number, which));
            };
            const auto& [least, greatest] = profile[tensor.name] = {limit(nvinfer1::OptProfileSelector::kMIN),
                                                                    limit(nvinfer1::OptProfileSelector::kMAX)};
            most_ = std::max(most_, greatest.empty() ? 0 : greatest[0]);
        }
        profiles_.push_back(std::move(profile));
    }
}

Outputs TrtEngine::run(const std::map<std::string, TensorView>& inputs) const {
    std::vector<std::vector<std::byte>> casts;
    std::map<std::string, TensorView> given;
    std::int64_t batch = 0;
    for (const Tensor& tensor : inputs_) {
        const TensorView& view = given[tensor.name] = as_type(inputs, tensor.name, tensor.type, file_, casts);
        batch = view.shape.empty() ? 0 : view.shape[0];
    }
    const OnFirstGpu here;
    const Borrowed lane(*this);
    Outputs out;
    out.owner = std::make_shared<Owner>();
    // Parts of one size, but for the last: a rest of one picture may be fewer than a plan takes.
    const std::int64_t parts = std::max<std::int64_t>((batch + most_ - 1) / most_, 1);
    const std::int64_t step = (batch + parts - 1) / parts;
    for (std::int64_t first = 0; first < batch; first += step) {
        run_part(*lane, given, {first, std::min(step, batch - first), batch}, out);
    }
    return out;
}

void TrtEngine::run_part(Lane& lane, const std::map<std::string, TensorView>& inputs, const Part& part,
                         Outputs& out) const {
    std::map<std::string, Shape> shapes;
    for (const auto& [name, view] : inputs) {
        shapes[name] = view.shape;
        shapes[name][0] = part.rows;
    }
    nvinfer1::IExecutionContext& context = this->context(lane, choose_profile(profiles_, shapes, file_));
    forget();
    const auto place = [&](const std::string& name, const TensorView& view) {
        if (!context.setTensorAddress(name.c_str(), lane.buffers[name].reserve(part.bytes(view)))) {
            failed(name + " can't be handed over");
        }
    };
    for (const auto& [name, view] : inputs) {
        if (!context.setInputShape(name.c_str(), dims_of(shapes[name]))) {
            failed(name + " can't have this shape");
        }
        place(name, view);
    }
    for (const Tensor& tensor : outputs_) {
        if (part.first == 0) {
            TensorView view{tensor.type, nullptr, shape_of(context.getTensorShape(tensor.name.c_str()))};
            if (view.shape.empty() || view.shape[0] != part.rows ||
                std::any_of(view.shape.begin(), view.shape.end(), [](std::int64_t length) { return length < 0; })) {
                failed("the shape of " + tensor.name + " is open, or not one for each picture");
            }
            view.shape[0] = part.batch;
            auto& owner = *static_cast<Owner*>(out.owner.get());
            owner.emplace_back(view.count() * element_size(view.type));
            view.data = owner.back().data();
            out.tensors[tensor.name] = std::move(view);
        }
        place(tensor.name, out.tensors[tensor.name]);
    }

    // From here on nothing is thrown before the queue is empty: what is under way reads and writes the caller's memory.
    cudaError_t status = cudaSuccess;
    const auto copy = [&](void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
        status = status == cudaSuccess ? cudaMemcpyAsync(to, from, bytes, kind, lane.stream) : status;
    };
    for (const auto& [name, view] : inputs) {
        copy(lane.buffers[name].data(), part.begin(view), part.bytes(view), cudaMemcpyHostToDevice);
    }
    const bool queued = status == cudaSuccess && context.enqueueV3(lane.stream);
    for (const Tensor& tensor : outputs_) {
        const TensorView& view = out.tensors[tensor.name];
        if (queued) {
            copy(part.begin(view), lane.buffers[tensor.name].data(), part.bytes(view), cudaMemcpyDeviceToHost);
        }
    }
    const cudaError_t end = cudaStreamSynchronize(lane.stream);
    check_cuda(status, "cudaMemcpyAsync");
    if (!queued) {
        failed("a call failed");
    }
    check_cuda(end, "cudaStreamSynchronize");
}

// A context stays with its profile; switching it between profiles would wait for the device.
nvinfer1::IExecutionContext& TrtEngine::context(Lane& lane, std::size_t profile) const {
    auto found = lane.contexts.find(profile);
    if (found == lane.contexts.end()) {
        forget();
        std::unique_ptr<nvinfer1::IExecutionContext> made(engine_->createExecutionContext());
        if (!made || !made->setOptimizationProfileAsync(static_cast<std::int32_t>(profile), lane.stream)) {
            failed("there is no memory for its context, or the profile can't be set");
        }
        found = lane.contexts.emplace(profile, std::move(made)).first;
    }
    return *found->second;
}

void TrtEngine::failed(const std::string& what) const {
    fail(ErrorCode::backend, file_, " in ", library_->title, ": ", what, " (", last_error(), ")");
}

}  // namespace sacvit::detail
