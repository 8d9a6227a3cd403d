#include "backends/onnxruntime/ort_memory.hpp"

#include <utility>

#include "backends/onnxruntime/small_graphs.hpp"
#include "text.hpp"

namespace sacvit::detail {

OrtMemory::OrtMemory(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

TensorView OrtMemory::upload(const TensorView& values) { return run("an upload", copy_graph, {{kGraphInput, values}}); }

TensorView OrtMemory::join(const TensorView& first, const TensorView& second) {
    return run("joining batches", join_graph, {{kGraphInput, first}, {kGraphSecond, second}});
}

TensorView OrtMemory::run(const std::string& name, std::string (*graph_of)(ElementType),
                          const std::map<std::string, TensorView>& inputs) {
    const auto locked = shared_->provider->lock();
    const ElementType type = inputs.at(kGraphInput).type;
    std::unique_ptr<Engine>& engine = engines_[{name, type}];
    if (!engine) {
        guarded(name + " can't be made ready in ONNX Runtime", [&] {
            Ort::SessionOptions options;
            options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
            shared_->provider->append_to(options);
            const std::string graph = graph_of(type);
            engine = std::make_unique<OrtEngine>(
                shared_, Ort::Session(shared_->library->env, graph.data(), graph.size(), options), name);
        });
    }
    return engine->run(inputs, {kGraphOutput}).at(kGraphOutput);
}

}  // namespace sacvit::detail
