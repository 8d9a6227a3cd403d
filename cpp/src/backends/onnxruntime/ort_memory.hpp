// The memory of a plugin's device.
#pragma once

#include <map>
#include <memory>

#include "backends/onnxruntime/ort_engine.hpp"

namespace sacvit::detail {

class OrtMemory final : public DeviceMemory {
public:
    explicit OrtMemory(std::shared_ptr<Shared> shared);
    TensorView upload(const TensorView& values) override;
    TensorView join(const TensorView& first, const TensorView& second) override;
    const Traffic& traffic() const override { return shared_->traffic; }

private:
    std::shared_ptr<Shared> shared_;
    std::map<ElementType, std::unique_ptr<Engine>> joins_;  // under the provider's lock
};

}  // namespace sacvit::detail
