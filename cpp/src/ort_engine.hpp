// One session of ONNX Runtime behind the engine interface.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "files.hpp"
#include "ort_library.hpp"

namespace sacvit::detail {

struct Prepacked {
    void operator()(OrtPrepackedWeightsContainer* container) const {
        Ort::GetApi().ReleasePrepackedWeightsContainer(container);
    }
};
using PrepackedPointer = std::unique_ptr<OrtPrepackedWeightsContainer, Prepacked>;

// What all sessions of a backend hold in common. Its members must outlive the sessions, so each has a reference.
struct Shared {
    std::shared_ptr<OrtLibrary> library;
    std::map<std::string, std::shared_ptr<MappedFile>> files;  // weights files by path
    std::map<std::string, Ort::Value> tensors;                 // weights by file, place and type
    PrepackedPointer prepacked;
};

// What a library's exception says, in one line.
std::string first_line(const std::exception& error);

class OrtEngine final : public Engine {
public:
    OrtEngine(std::shared_ptr<Shared> shared, Ort::Session session, std::string file);
    Outputs run(const std::map<std::string, TensorView>& inputs) const override;

private:
    struct Input {
        std::string name;
        ElementType type;
    };

    std::shared_ptr<Shared> shared_;
    mutable Ort::Session session_;  // its Run is safe from several threads, but not const
    std::string file_;
    std::vector<Input> inputs_;
    std::vector<std::string> outputs_;
};

}  // namespace sacvit::detail
