#include "backends/onnxruntime/ort_memory.hpp"

#include <utility>

#include "backends/onnxruntime/small_graphs.hpp"
#include "text.hpp"

namespace sacvit::detail {

OrtMemory::OrtMemory(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

TensorView OrtMemory::upload(const TensorView& values) {
    return guarded(shared_->provider->title() + " takes no images", [&] {
        const auto locked = shared_->provider->lock();
        const PluginApi api = plugin_api();
        const OrtEnv* const env = shared_->library->env;
        OrtAllocator* allocator = nullptr;
        Ort::ThrowOnError(api.allocator(shared_->library->env, device_memory(*shared_->provider), &allocator));
        if (allocator == nullptr) {
            fail(ErrorCode::backend, shared_->provider->title(), " gives no memory of its device to others");
        }
        const Ort::Value from = host_value(values);
        Ort::Value to =
            Ort::Value::CreateTensor(allocator, values.shape.data(), values.shape.size(), onnx_type(values.type));
        const OrtValue* const source = from;
        OrtValue* const target = to;
        Ort::ThrowOnError(api.copy(env, &source, &target, nullptr, 1));
        shared_->traffic.up += values.count() * element_size(values.type);
        return TensorView{values.type, nullptr, values.shape, std::make_shared<OrtTensor>(shared_, std::move(to))};
    });
}

TensorView OrtMemory::join(const TensorView& first, const TensorView& second) {
    return guarded(shared_->provider->title() + " joins no batches", [&] {
        const auto locked = shared_->provider->lock();
        std::unique_ptr<Engine>& engine = joins_[first.type];
        if (!engine) {
            Ort::SessionOptions options;
            options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
            shared_->provider->append_to(options);
            const std::string graph = join_graph(first.type);
            engine = std::make_unique<OrtEngine>(
                shared_, Ort::Session(shared_->library->env, graph.data(), graph.size(), options), "joining batches");
        }
        Outputs out = engine->run({{kGraphInput, first}, {kGraphSecond, second}}, {kGraphOutput});
        return out.at(kGraphOutput);
    });
}

}  // namespace sacvit::detail
