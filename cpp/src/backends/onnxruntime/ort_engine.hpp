// A session of ONNX Runtime as an engine.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/engine.hpp"
#include "backends/onnxruntime/providers.hpp"
#include "files.hpp"

namespace sacvit::detail {

// Held in common by all sessions of a backend. Its members must outlive the sessions, so each has a reference.
struct Shared {
    std::shared_ptr<OrtLibrary> library;
    std::unique_ptr<Provider> provider;
    std::shared_ptr<const Pages> weights;       // the weights file's bytes, which the tensors point into
    std::map<std::string, Ort::Value> tensors;  // weights by place and type
    std::shared_ptr<OrtPrepackedWeightsContainer> prepacked;
    Traffic traffic;  // where tensors stay on a device
};

// A tensor in the memory of the provider's device.
class OrtTensor final : public DeviceTensor {
public:
    OrtTensor(std::shared_ptr<Shared> shared, Ort::Value value);
    ~OrtTensor() override;
    const Ort::Value& value() const { return value_; }

private:
    std::shared_ptr<Shared> shared_;
    Ort::Value value_;
};

class OrtEngine final : public Engine {
public:
    // `file` names the engine in messages.
    OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file);
    ~OrtEngine() override;
    const std::vector<TensorSpec>& inputs() const override { return inputs_; }
    Outputs run(const std::map<std::string, TensorView>& inputs, const std::set<std::string>& kept) const override;

private:
    Outputs run_on_host(const std::vector<Ort::Value>& values) const;
    Outputs run_on_device(const std::vector<const Ort::Value*>& values, const std::set<std::string>& kept) const;

    std::shared_ptr<Shared> shared_;
    mutable Ort::Session session_;  // its Run is safe from several threads, but not const
    std::string file_;
    std::vector<TensorSpec> inputs_;
    std::vector<std::string> outputs_;
};

// A host tensor over the view's memory, which the library does not write to.
Ort::Value host_value(const TensorView& view);

ONNXTensorElementDataType onnx_type(ElementType type);

}  // namespace sacvit::detail
