// Backends: one interface, one implementation for each inference library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

struct Bundle;

using Shape = std::vector<std::int64_t>;

enum class ElementType { float32, float16, int64 };

inline std::size_t element_size(ElementType type) {
    return type == ElementType::float32 ? 4 : type == ElementType::float16 ? 2 : 8;
}

// Values whose memory belongs to somebody else, row-major without gaps.
struct TensorView {
    ElementType type = ElementType::float32;
    const void* data = nullptr;
    Shape shape;

    std::size_t count() const {
        std::size_t out = 1;
        for (const std::int64_t length : shape) {
            out *= static_cast<std::size_t>(length);
        }
        return out;
    }
};

// An engine's input or output, as the engine itself describes it.
struct TensorSpec {
    std::string name;
    ElementType type;
};

// An engine's outputs by the contract's names, and the owner of their memory.
struct Outputs {
    std::map<std::string, TensorView> tensors;
    std::shared_ptr<void> owner;

    const TensorView& at(const std::string& name) const { return tensors.at(name); }
};

// One loaded stage. Safe to use from several threads.
class Engine {
public:
    virtual ~Engine() = default;
    // Runs the stage. Inputs have the contract's names, and are cast to the element types that the engine takes. Throws
    // Error (backend).
    virtual Outputs run(const std::map<std::string, TensorView>& inputs) const = 0;
};

// A library that runs engines on one device. One backend serves both stages, so that they share weights.
class Backend {
public:
    virtual ~Backend() = default;
    // Library, version, device and threads, such as `ONNX Runtime 1.24.1, CPU, 4 threads`.
    virtual const std::string& description() const = 0;
    // The variants of a bundle that this backend can open. Throws Error (bundle).
    virtual std::vector<std::string> precisions(const Bundle& bundle) const = 0;
    // A variant's files by role, checked, in the form this backend opens. Throws Error (bundle).
    virtual std::map<std::string, std::string> files(const Bundle& bundle, const std::string& precision) = 0;
    // Loads one stage from its file; `weights` is the file with its external weights, or empty. Throws Error
    // (backend).
    virtual std::unique_ptr<Engine> open(const std::string& stage, const std::string& weights) = 0;
};

// Looks up an input and gives it in the element type that the engine takes: where it is, or copied into `storage`.
// `file` names the engine in messages. Throws Error (backend) if the input is missing, or would turn from indices into
// values.
TensorView input_for(const TensorSpec& spec, const std::map<std::string, TensorView>& inputs, const std::string& file,
                     std::vector<std::vector<std::byte>>& storage);

// Opens the backend that the options name. Throws Error (backend) if it was not built in or lacks something it needs,
// Error (usage) for options that it doesn't have.
std::unique_ptr<Backend> open_backend(const Options& options, int threads);

// ONNX Runtime: sessions on one execution provider. Throws Error (backend) if the library or the provider is missing.
std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads);

// TensorRT: plans on the first GPU; only where it was built in. Throws Error (backend) if there is no GPU.
std::unique_ptr<Backend> open_trt_backend();

}  // namespace sacvit::detail
