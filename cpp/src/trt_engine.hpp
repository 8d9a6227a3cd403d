// One TensorRT plan behind the engine interface. Built with SACVIT_TENSORRT alone.
#pragma once

#include <NvInfer.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda.hpp"
#include "engine.hpp"
#include "plans.hpp"

namespace sacvit::detail {

// Keeps what the library said last in each thread, to be told with an error.
class TrtLogger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override;
    // Forgets what was said.
    static void forget();
    // The last error or warning in this thread, in one line.
    static std::string reason();
};

// What all engines of a backend hold in common; its members must outlive them.
struct TrtLibrary {
    TrtLogger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::shared_ptr<PinnedPool> pinned = std::make_shared<PinnedPool>();
    std::string title;  // library and version
};

// Arrays go up to the device for a call and come back after it. More pictures than the profiles allow pass in parts.
class TrtEngine final : public Engine {
public:
    // Throws Error (backend) if the plan can't be loaded.
    TrtEngine(std::shared_ptr<TrtLibrary> library, const Plan& plan);
    ~TrtEngine() override;
    Outputs run(const std::map<std::string, TensorView>& inputs) const override;

private:
    struct Lane;
    class Borrowed;
    struct Tensor {
        std::string name;
        ElementType type;
    };

    nvinfer1::IExecutionContext& context(Lane& lane, std::size_t profile) const;
    // Runs the pictures first..first+rows-1 of `batch`; what comes out joins what is there.
    void run_part(Lane& lane, const std::map<std::string, TensorView>& inputs, std::int64_t first, std::int64_t rows,
                  std::int64_t batch, Outputs& out) const;
    [[noreturn]] void failed(const std::string& what) const;

    std::shared_ptr<TrtLibrary> library_;
    std::string file_;
    std::vector<Profile> profiles_;
    std::int64_t most_ = 0;  // pictures in one call, by the widest profile
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::vector<Tensor> inputs_, outputs_;
    mutable std::mutex mutex_;
    mutable std::condition_variable returned_;
    mutable std::vector<std::unique_ptr<Lane>> idle_;
    mutable int lanes_ = 0;
};

}  // namespace sacvit::detail
