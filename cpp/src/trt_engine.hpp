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
#include "profiles.hpp"

namespace sacvit::detail {

// What all engines of a backend hold in common; it must outlive them.
struct TrtLibrary {
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::string title;  // library and version
};

// Arrays go up to the device for a call and come back after it. More pictures than the profiles allow pass in parts.
class TrtEngine final : public Engine {
public:
    // Throws Error (backend) if the plan can't be loaded.
    TrtEngine(std::shared_ptr<TrtLibrary> library, const std::string& path);
    ~TrtEngine() override;
    Outputs run(const std::map<std::string, TensorView>& inputs) const override;

private:
    struct Lane;
    class Borrowed;
    struct Part;
    struct Tensor {
        std::string name;
        ElementType type;
    };

    void read_interface();
    nvinfer1::IExecutionContext& context(Lane& lane, std::size_t profile) const;
    void run_part(Lane& lane, const std::map<std::string, TensorView>& inputs, const Part& part, Outputs& out) const;
    [[noreturn]] void failed(const std::string& what) const;

    std::shared_ptr<TrtLibrary> library_;
    std::string file_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::vector<Tensor> inputs_, outputs_;
    std::vector<Profile> profiles_;
    std::int64_t most_ = 1;  // pictures in one call, by the widest profile
    mutable std::mutex mutex_;
    mutable std::condition_variable returned_;
    mutable std::vector<std::unique_ptr<Lane>> idle_;
    mutable int lanes_ = 0;
};

}  // namespace sacvit::detail
