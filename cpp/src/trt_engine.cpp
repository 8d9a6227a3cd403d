#include "trt_engine.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "convert.hpp"
#include "errors.hpp"
#include "files.hpp"

namespace sacvit::detail {
namespace {

constexpr int kLanes = 4;  // threads at once; each takes a context's memory for every profile it uses

thread_local std::string said;

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

// What keeps the memory of a call's outputs.
using Owner = std::vector<std::shared_ptr<void>>;

// Where a picture's values begin; the outputs' memory is ours to write to.
void* at_row(const TensorView& view, std::size_t row_bytes, std::int64_t row) {
    return static_cast<char*>(const_cast<void*>(view.data)) + row_bytes * static_cast<std::size_t>(row);
}

std::size_t byte_count(const TensorView& view) { return view.count() * element_size(view.type); }

}  // namespace

void TrtLogger::log(Severity severity, const char* message) noexcept {
    if (severity <= Severity::kWARNING) {
        try {
            said = message;
        } catch (...) {  // no memory for a message: the error it belongs to is told without it
        }
    }
}

void TrtLogger::forget() { said.clear(); }

std::string TrtLogger::reason() {
    return said.empty() ? "no reason given" : said.substr(0, std::min<std::size_t>(said.find('\n'), 200));
}

// What one thread at a time works with: its queue, a context for each profile, memory for each tensor.
struct TrtEngine::Lane {
    CudaStream stream;
    std::map<std::size_t, std::unique_ptr<nvinfer1::IExecutionContext>> contexts;
    std::map<std::string, DeviceBuffer> buffers;
};

// A lane for the time of one call; waits for one where all are taken.
class TrtEngine::Borrowed {
public:
    explicit Borrowed(const TrtEngine& engine) : engine_(engine) {
        std::unique_lock<std::mutex> lock(engine.mutex_);
        engine.returned_.wait(lock, [&] { return !engine.idle_.empty() || engine.lanes_ < kLanes; });
        if (!engine.idle_.empty()) {
            lane_ = std::move(engine.idle_.back());
            engine.idle_.pop_back();
        } else {
            lane_ = std::make_unique<Lane>();
            engine.idle_.reserve(kLanes);  // so that giving back can't fail
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

TrtEngine::TrtEngine(std::shared_ptr<TrtLibrary> library, const Plan& plan)
    : library_(std::move(library)),
      file_(std::filesystem::path(plan.path).filename().string()),
      profiles_(plan.profiles) {
    std::string bytes;
    try {
        const File file(plan.path);
        bytes = file.read(file.size());
    } catch (const std::system_error& error) {
        fail(ErrorCode::backend, "can't read ", plan.path, ": ", reason(error.code().value()));
    }
    TrtLogger::forget();
    engine_.reset(library_->runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    if (!engine_) {
        fail(ErrorCode::backend, library_->title, " can't load ", plan.path, ": ", TrtLogger::reason());
    }
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
        const char* name = engine_->getIOTensorName(i);
        const bool input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        (input ? inputs_ : outputs_).push_back({name, element_type(engine_->getTensorDataType(name), name)});
    }
    for (const Profile& profile : profiles_) {
        for (const auto& [name, shapes] : profile) {
            most_ = std::max(most_, shapes.second.empty() ? 0 : shapes.second[0]);
        }
    }
}

TrtEngine::~TrtEngine() = default;

Outputs TrtEngine::run(const std::map<std::string, TensorView>& inputs) const {
    std::vector<std::vector<std::byte>> casts;
    std::map<std::string, TensorView> given;
    std::int64_t batch = 0;
    for (const Tensor& tensor : inputs_) {
        const TensorView& view = given[tensor.name] = as_type(inputs, tensor.name, tensor.type, file_, casts);
        batch = view.shape.empty() ? 0 : view.shape[0];
    }
    const Borrowed lane(*this);
    const std::int64_t step = std::max<std::int64_t>(most_, 1);
    Outputs out;
    out.owner = std::make_shared<Owner>();
    for (std::int64_t first = 0; first < batch; first += step) {
        run_part(*lane, given, first, std::min(step, batch - first), batch, out);
    }
    return out;
}

void TrtEngine::run_part(Lane& lane, const std::map<std::string, TensorView>& inputs, std::int64_t first,
                         std::int64_t rows, std::int64_t batch, Outputs& out) const {
    std::map<std::string, Shape> shapes;
    for (const auto& [name, view] : inputs) {
        shapes[name] = view.shape;
        shapes[name][0] = rows;
    }
    nvinfer1::IExecutionContext& context = this->context(lane, choose_profile(profiles_, shapes, file_));
    TrtLogger::forget();
    for (const auto& [name, view] : inputs) {
        if (!context.setInputShape(name.c_str(), dims_of(shapes[name]))) {
            failed(name + " can't have this shape");
        }
        const std::size_t row = byte_count(view) / static_cast<std::size_t>(batch);
        const std::size_t bytes = row * static_cast<std::size_t>(rows);
        void* place = lane.buffers[name].reserve(bytes);
        check_cuda(cudaMemcpyAsync(place, at_row(view, row, first), bytes, cudaMemcpyHostToDevice, lane.stream),
                   "cudaMemcpyAsync");
        if (!context.setTensorAddress(name.c_str(), place)) {
            failed(name + " can't be given");
        }
    }
    std::map<std::string, std::size_t> sizes;
    for (const Tensor& tensor : outputs_) {
        const nvinfer1::Dims dims = context.getTensorShape(tensor.name.c_str());
        if (dims.nbDims < 1 || dims.d[0] != rows ||
            std::any_of(dims.d, dims.d + dims.nbDims, [](std::int64_t d) { return d < 0; })) {
            failed("the shape of " + tensor.name + " is open, or not one for each picture");
        }
        TensorView view{tensor.type, nullptr, {dims.d, dims.d + dims.nbDims}};
        sizes[tensor.name] = byte_count(view);
        if (first == 0) {
            view.shape[0] = batch;
            auto memory = library_->pinned->take(byte_count(view));
            view.data = memory.get();
            static_cast<Owner*>(out.owner.get())->push_back(std::move(memory));
            out.tensors[tensor.name] = std::move(view);
        }
        if (!context.setTensorAddress(tensor.name.c_str(), lane.buffers[tensor.name].reserve(sizes[tensor.name]))) {
            failed(tensor.name + " can't be taken");
        }
    }
    const bool queued = context.enqueueV3(lane.stream);
    for (std::size_t i = 0; queued && i < outputs_.size(); ++i) {
        const std::string& name = outputs_[i].name;
        const std::size_t bytes = sizes[name], row = bytes / static_cast<std::size_t>(rows);
        check_cuda(cudaMemcpyAsync(at_row(out.tensors[name], row, first), lane.buffers[name].reserve(bytes), bytes,
                                   cudaMemcpyDeviceToHost, lane.stream),
                   "cudaMemcpyAsync");
    }
    // Also after a failure: what is under way still reads the inputs.
    check_cuda(cudaStreamSynchronize(lane.stream), "cudaStreamSynchronize");
    if (!queued) {
        failed("a call failed");
    }
}

// A context stays with its profile; switching it between profiles would wait for the device.
nvinfer1::IExecutionContext& TrtEngine::context(Lane& lane, std::size_t profile) const {
    auto found = lane.contexts.find(profile);
    if (found == lane.contexts.end()) {
        TrtLogger::forget();
        std::unique_ptr<nvinfer1::IExecutionContext> made(engine_->createExecutionContext());
        if (!made || !made->setOptimizationProfileAsync(static_cast<std::int32_t>(profile), lane.stream)) {
            failed("there is no memory for its context, or the profile can't be set");
        }
        found = lane.contexts.emplace(profile, std::move(made)).first;
    }
    return *found->second;
}

void TrtEngine::failed(const std::string& what) const {
    fail(ErrorCode::backend, file_, " in ", library_->title, ": ", what, " (", TrtLogger::reason(), ")");
}

}  // namespace sacvit::detail
