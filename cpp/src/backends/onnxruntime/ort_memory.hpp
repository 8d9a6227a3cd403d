// The memory of a provider's device. Tensors are the library's values, whole: they go up and are joined by sessions of
// one node, which every provider has from 1.21 on. CopyTensors, from 1.23 on, knows no device of a provider that is
// built in, as CUDA's is.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "backends/onnxruntime/ort_engine.hpp"

namespace sacvit::detail {

class OrtMemory final : public DeviceMemory {
public:
    explicit OrtMemory(std::shared_ptr<Shared> shared);
    TensorView upload(const TensorView& values) override;
    TensorView join(const TensorView& first, const TensorView& second) override;
    const Traffic& traffic() const override { return shared_->traffic; }

private:
    // Runs a graph of one node for the inputs' type, whose session is kept under `name`, and leaves its output on the
    // device.
    TensorView run(const std::string& name, std::string (*graph_of)(ElementType),
                   const std::map<std::string, TensorView>& inputs);

    std::shared_ptr<Shared> shared_;
    std::map<std::pair<std::string, ElementType>, std::unique_ptr<Engine>> engines_;  // under the provider's lock
};

}  // namespace sacvit::detail
