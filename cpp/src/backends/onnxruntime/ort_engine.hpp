// One session of ONNX Runtime behind the engine interface.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/engine.hpp"
#include "backends/onnxruntime/ort_library.hpp"
#include "files.hpp"

namespace sacvit::detail {

// Held in common by all sessions of a backend. Its members must outlive the sessions, so each has a reference.
struct Shared {
    std::shared_ptr<OrtLibrary> library;
    std::map<std::string, std::shared_ptr<MappedFile>> files;  // weights files by path
    std::map<std::string, Ort::Value> tensors;                 // weights by file, place and type
    std::shared_ptr<OrtPrepackedWeightsContainer> prepacked;
};

class OrtEngine final : public Engine {
public:
    OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file);
    Outputs run(const std::map<std::string, TensorView>& inputs) const override;

private:
    std::shared_ptr<Shared> shared_;
    mutable Ort::Session session_;  // its Run is safe from several threads, but not const
    std::string file_;
    std::vector<TensorSpec> inputs_;
    std::vector<std::string> outputs_;
};

}  // namespace sacvit::detail
