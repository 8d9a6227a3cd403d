// Backends: one interface, one implementation for each inference library.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bundle/held.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

struct Bundle;

using Shape = std::vector<std::int64_t>;

enum class ElementType { float32, float16, int64, uint8 };

inline std::size_t element_size(ElementType type) {
    switch (type) {
        case ElementType::float32: return 4;
        case ElementType::float16: return 2;
        case ElementType::int64: return 8;
        default: return 1;
    }
}

// A tensor in a device's memory, in the form its backend keeps it; released with the last view of it.
class DeviceTensor {
public:
    virtual ~DeviceTensor() = default;
};

// Values whose memory belongs to somebody else, row-major without gaps: on the host, or on the backend's device.
struct TensorView {
    ElementType type = ElementType::float32;
    const void* data = nullptr;  // null where they are on the device
    Shape shape;
    std::shared_ptr<const DeviceTensor> device{};

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
    Shape shape{};  // of an input; -1 for a length that is open
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
    virtual const std::vector<TensorSpec>& inputs() const = 0;
    // Runs the stage. Inputs have the contract's names, and are cast to the element types that the engine takes; those
    // on a device already have them. Outputs named by `kept` stay on the device, where the backend keeps tensors there.
    // Throws Error (backend).
    virtual Outputs run(const std::map<std::string, TensorView>& inputs,
                        const std::set<std::string>& kept = {}) const = 0;
};

// Bytes that have crossed between the host and a device, shape arithmetic inside the engines apart.
struct Traffic {
    std::atomic<std::uint64_t> up{0}, down{0};
};

// A device on which tensors stay between engine calls. Safe to use from several threads.
class DeviceMemory {
public:
    virtual ~DeviceMemory() = default;
    // Copies host values to the device. Throws Error (backend).
    virtual TensorView upload(const TensorView& values) = 0;
    // Puts the rows of the second tensor behind those of the first. Throws Error (backend).
    virtual TensorView join(const TensorView& first, const TensorView& second) = 0;
    virtual const Traffic& traffic() const = 0;
};

// A library that runs engines on one device. One backend serves both stages, so that they share weights.
class Backend {
public:
    virtual ~Backend() = default;
    // Library, version, device and threads, such as `ONNX Runtime 1.24.1, CPU, 4 threads`.
    virtual const std::string& description() const = 0;
    // The variants of a bundle that this backend can open. Throws Error (bundle).
    virtual std::vector<std::string> precisions(const Bundle& bundle) const = 0;
    // A variant's files by role, held, in the form this backend opens. Throws Error (bundle).
    virtual HeldFiles hold(const Bundle& bundle, const std::string& precision) = 0;
    // The device memory behind this backend; null where engines take and give host memory alone.
    virtual DeviceMemory* memory() { return nullptr; }
    // Loads one stage from its file's bytes; `weights` is the file with its external weights, or null. Throws Error
    // (backend, bundle).
    virtual std::unique_ptr<Engine> open(const HeldFile& stage, const HeldFile* weights) = 0;
};

// Looks up an input and gives it in the element type that the engine takes: where it is, or copied into `storage`.
// `file` names the engine in messages. Throws Error (backend) if the input is missing, or would turn from indices into
// values.
TensorView input_for(const TensorSpec& spec, const std::map<std::string, TensorView>& inputs, const std::string& file,
                     std::vector<std::vector<std::byte>>& storage);

// Opens the backend that the options name. Throws Error (backend) if it was not built in or lacks something it needs,
// Error (usage) for options that it doesn't have.
std::unique_ptr<Backend> open_backend(const Options& options, int threads);

// ONNX Runtime: sessions on one execution provider. `cpu_as_gpu`: the CPU takes CUDA's ways, its engines and tensors
// that stay in its memory, so that tests run them. Throws Error (backend) if the library or the provider is missing.
std::unique_ptr<Backend> open_ort_backend(const Options& options, int threads, bool cpu_as_gpu = false);

// TensorRT: plans on the first GPU; only where it was built in. Throws Error (backend) if there is no GPU.
std::unique_ptr<Backend> open_trt_backend();

}  // namespace sacvit::detail
