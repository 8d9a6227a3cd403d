#include "backends/tensorrt/trt_engine.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr int kMostContexts = 4;  // calls at once; each takes device memory for every profile it uses

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

// The memory of a call's outputs.
using Owner = std::vector<std::vector<std::byte>>;

// An array needs no destructor, so a model that goes after the thread's other variables may still log an error.
thread_local char first_error[256];

class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR && first_error[0] == '\0') {
            std::strncpy(first_error, message, sizeof first_error - 1);
        }
    }
};

}  // namespace

nvinfer1::ILogger& logger() {
    static Logger& only = *new Logger;
    return only;
}

std::string last_error() { return first_error[0] == '\0' ? "no reason given" : first_line(first_error); }

void clear_errors() { first_error[0] = '\0'; }

// The state of one call at a time: a queue, TensorRT's context for each profile, memory for each tensor.
struct TrtEngine::ExecutionContext {
    CudaStream stream = create_stream();
    std::map<std::size_t, std::unique_ptr<nvinfer1::IExecutionContext>> by_profile;
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

TrtEngine::TrtEngine(std::shared_ptr<TrtLibrary> library, const HeldFile& plan)
    : library_(std::move(library)), file_(plan.name) {
    const std::string_view bytes = plan.bytes();
    const OnFirstGpu here;
    clear_errors();
    engine_.reset(library_->runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    if (!engine_) {
        fail(ErrorCode::backend, library_->title, " can't load ", plan.path, ": ", last_error());
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
        for (TensorSpec& tensor : inputs_) {
            const auto shape = [&](nvinfer1::OptProfileSelector limit) {
                return shape_of(engine_->getProfileShape(tensor.name.c_str(), number, limit));
            };
            const auto& [least, greatest] = profile[tensor.name] = {shape(nvinfer1::OptProfileSelector::kMIN),
                                                                    shape(nvinfer1::OptProfileSelector::kMAX)};
            most_ = std::max(most_, greatest.empty() ? 0 : greatest[0]);
            // A length that all profiles fix is the engine's own.
            tensor.shape.resize(greatest.size(), number == 0 ? 0 : -1);
            for (std::size_t i = 0; i < greatest.size(); ++i) {
                const std::int64_t length = i < least.size() && least[i] == greatest[i] ? greatest[i] : -1;
                tensor.shape[i] = number == 0 || tensor.shape[i] == length ? length : -1;
            }
        }
        profiles_.push_back(std::move(profile));
    }
}

Outputs TrtEngine::run(const std::map<std::string, TensorView>& inputs, const std::set<std::string>&) const {
    std::vector<std::vector<std::byte>> casts;
    std::map<std::string, TensorView> given;
    std::int64_t batch = 0;
    for (const TensorSpec& tensor : inputs_) {
        const TensorView& view = given[tensor.name] = input_for(tensor, inputs, file_, casts);
        batch = view.shape.empty() ? 0 : view.shape[0];
    }
    const OnFirstGpu here;
    const std::shared_ptr<ExecutionContext> context = borrow_context();
    Outputs out;
    out.owner = std::make_shared<Owner>();
    // Parts of one size, but for the last: a rest of one image may be fewer than a plan takes.
    const std::int64_t parts = std::max<std::int64_t>((batch + most_ - 1) / most_, 1);
    const std::int64_t step = (batch + parts - 1) / parts;
    for (std::int64_t first = 0; first < batch; first += step) {
        run_part(*context, given, {first, std::min(step, batch - first), batch}, out);
    }
    return out;
}

void TrtEngine::run_part(ExecutionContext& context, const std::map<std::string, TensorView>& inputs, const Part& part,
                         Outputs& out) const {
    std::map<std::string, Shape> shapes;
    for (const auto& [name, view] : inputs) {
        shapes[name] = view.shape;
        shapes[name][0] = part.rows;
    }
    nvinfer1::IExecutionContext& execution = with_profile(context, choose_profile(profiles_, shapes, file_));
    clear_errors();
    const auto bind = [&](const std::string& name, const TensorView& view) {
        if (!execution.setTensorAddress(name.c_str(), context.buffers[name].reserve(part.bytes(view)))) {
            failed(name + " can't be handed over");
        }
    };
    for (const auto& [name, view] : inputs) {
        if (!execution.setInputShape(name.c_str(), dims_of(shapes[name]))) {
            failed(name + " can't have this shape");
        }
        bind(name, view);
    }
    for (const TensorSpec& tensor : outputs_) {
        if (part.first == 0) {
            TensorView view{tensor.type, nullptr, shape_of(execution.getTensorShape(tensor.name.c_str()))};
            if (view.shape.empty() || view.shape[0] != part.rows ||
                std::any_of(view.shape.begin(), view.shape.end(), [](std::int64_t length) { return length < 0; })) {
                failed("the shape of " + tensor.name + " is open, or not one for each image");
            }
            view.shape[0] = part.batch;
            auto& owner = *static_cast<Owner*>(out.owner.get());
            owner.emplace_back(view.count() * element_size(view.type));
            view.data = owner.back().data();
            out.tensors[tensor.name] = std::move(view);
        }
        bind(tensor.name, out.tensors[tensor.name]);
    }

    // From here on nothing is thrown before the queue is empty: queued copies read and write the caller's memory.
    cudaError_t status = cudaSuccess;
    const auto copy = [&](void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
        status = status == cudaSuccess ? cudaMemcpyAsync(to, from, bytes, kind, context.stream.get()) : status;
    };
    for (const auto& [name, view] : inputs) {
        copy(context.buffers[name].data(), part.begin(view), part.bytes(view), cudaMemcpyHostToDevice);
    }
    const bool queued = status == cudaSuccess && execution.enqueueV3(context.stream.get());
    for (const TensorSpec& tensor : outputs_) {
        const TensorView& view = out.tensors[tensor.name];
        if (queued) {
            copy(part.begin(view), context.buffers[tensor.name].data(), part.bytes(view), cudaMemcpyDeviceToHost);
        }
    }
    const cudaError_t end = cudaStreamSynchronize(context.stream.get());
    check_cuda(status, "cudaMemcpyAsync");
    if (!queued) {
        failed("a call failed");
    }
    check_cuda(end, "cudaStreamSynchronize");
}

// A context of TensorRT stays with its profile; switching it between profiles would wait for the device.
nvinfer1::IExecutionContext& TrtEngine::with_profile(ExecutionContext& context, std::size_t profile) const {
    std::unique_ptr<nvinfer1::IExecutionContext>& execution = context.by_profile[profile];
    if (!execution) {
        clear_errors();
        std::unique_ptr<nvinfer1::IExecutionContext> created(engine_->createExecutionContext());
        if (!created ||
            !created->setOptimizationProfileAsync(static_cast<std::int32_t>(profile), context.stream.get())) {
            failed("there is no memory for its context, or the profile can't be set");
        }
        execution = std::move(created);
    }
    return *execution;
}

std::shared_ptr<TrtEngine::ExecutionContext> TrtEngine::borrow_context() const {
    std::unique_ptr<ExecutionContext> context;
    {
        std::unique_lock<std::mutex> lock(mutex_);
        returned_.wait(lock, [&] { return !idle_.empty() || contexts_ < kMostContexts; });
        if (!idle_.empty()) {
            context = std::move(idle_.back());
            idle_.pop_back();
        } else {
            context = std::make_unique<ExecutionContext>();
            idle_.reserve(kMostContexts);  // so that giving back can't fail
            ++contexts_;
        }
    }
    return {context.release(), [this](ExecutionContext* used) {
                {
                    const std::lock_guard<std::mutex> lock(mutex_);
                    idle_.emplace_back(used);
                }
                returned_.notify_one();
            }};
}

void TrtEngine::failed(const std::string& problem) const {
    fail(ErrorCode::backend, file_, " in ", library_->title, ": ", problem, " (", last_error(), ")");
}

}  // namespace sacvit::detail
