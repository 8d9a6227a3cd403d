// One TensorRT plan behind the engine interface, the choice among its optimisation profiles, and the library's
// messages. Built with SACVIT_TENSORRT alone.
#pragma once

#include <NvInfer.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/engine.hpp"
#include "backends/tensorrt/cuda.hpp"

namespace sacvit::detail {

// The logger that TensorRT gets. The library keeps the first one that a process gives it, so there is one, for ever.
nvinfer1::ILogger& logger();

// The first error logged in this thread since `clear_errors`, in one line: later ones are its consequences. Messages of
// the library's own threads are lost.
std::string last_error();
void clear_errors();

// The least and the greatest shape of each input that one profile allows.
using Profile = std::map<std::string, std::pair<Shape, Shape>>;

// The number of the narrowest profile that allows the shapes. Throws Error (backend) that names the input out of range.
// `name` stands in messages.
std::size_t choose_profile(const std::vector<Profile>& profiles, const std::map<std::string, Shape>& shapes,
                           const std::string& name);

// Held in common by all engines of a backend; it must outlive them.
struct TrtLibrary {
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::string title;  // library and version
};

// Inputs are copied to the device for a call, outputs back after it. Batches above the profiles' limit run in parts.
class TrtEngine final : public Engine {
public:
    // Throws Error (backend) if the plan can't be loaded.
    TrtEngine(std::shared_ptr<TrtLibrary> library, const HeldFile& plan);
    ~TrtEngine() override;
    const std::vector<TensorSpec>& inputs() const override { return inputs_; }
    Outputs run(const std::map<std::string, TensorView>& inputs, const std::set<std::string>& kept) const override;

private:
    struct ExecutionContext;
    struct Part;

    void read_interface();
    // A context for the time of one call; waits for one where all are taken. The deleter gives it back.
    std::shared_ptr<ExecutionContext> borrow_context() const;
    nvinfer1::IExecutionContext& with_profile(ExecutionContext& context, std::size_t profile) const;
    void run_part(ExecutionContext& context, const std::map<std::string, TensorView>& inputs, const Part& part,
                  Outputs& out) const;
    [[noreturn]] void failed(const std::string& problem) const;

    std::shared_ptr<TrtLibrary> library_;
    std::string file_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::vector<TensorSpec> inputs_, outputs_;
    std::vector<Profile> profiles_;
    std::int64_t most_ = 1;  // images in one call, by the widest profile
    mutable std::mutex mutex_;
    mutable std::condition_variable returned_;
    mutable std::vector<std::unique_ptr<ExecutionContext>> idle_;
    mutable int contexts_ = 0;
};

}  // namespace sacvit::detail
