// The runtime of SAC-ViT bundles: sacvit::Model("model.sacvit").predict("image.jpg", {0.6}).
//
// The same answers as the Python package sacvit_deploy gives. Everything throws sacvit::Error and nothing else but
// std::bad_alloc. For other languages there is sacvit.h, which no exception crosses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#if defined(SACVIT_STATIC)
#define SACVIT_API
#else
#define SACVIT_API __attribute__((visibility("default")))
#endif

namespace sacvit {

enum class ErrorCode {
    image = 1,  // an image that can't be decoded or is refused
    bundle,     // a bundle that is missing, incomplete, changed, or of another schema
    backend,    // an inference library that is missing, or did not give what was asked for
    output,     // an engine whose outputs can't be an answer (NaN or infinite)
    usage,      // an argument out of its range
};

// One sentence: what is wrong, where, what to do.
class SACVIT_API Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

enum class PixelFormat { rgb, bgr, gray, rgba, bgra };  // 8 bits a channel; alpha is laid over white

// Pixels where they are, such as a camera's buffer: nothing is copied, so they must stay until the answer is there.
struct ImageView {
    const std::uint8_t* data = nullptr;
    int width = 0;
    int height = 0;
    std::ptrdiff_t pitch = 0;  // bytes from one row to the next, negative where the image is stored upside down
    PixelFormat format = PixelFormat::rgb;
};

// A JPEG or PNG file in memory, which must stay until the answer is there.
struct Bytes {
    const void* data = nullptr;
    std::size_t size = 0;
};

// What an image comes from; a string is the path of a JPEG or PNG file.
using Source = std::variant<std::string, Bytes, ImageView>;

enum class Weights {
    packed,  // rearranged for speed, one copy shared by both engines
    mapped,  // read where they are in the file: opens at once
};

struct Options {
    std::string precision = "auto";       // fp32, fp16, int8; auto is the best the bundle has for this processor
    std::string backend = "onnxruntime";  // or "tensorrt", for plans by `sacvit build`, where it was built in
    std::string provider = "cpu";  // an ONNX Runtime execution provider, in full or in short (cpu, cuda, tensorrt)
    int threads = 0;               // CPU threads of one engine call; 0 is one for each core this process may use
    Weights weights = Weights::packed;
    // libonnxruntime.so, or a folder it is in; empty: $SACVIT_ORT_LIBRARY, $ORT_ROOT, then the system's. A process has
    // one such library: the first one opened.
    std::string library;
};

// Of one call; the bundle's defaults where not given.
struct Gate {
    std::optional<double> eta = std::nullopt;    // exit after stage 1 above this probability, 0 to 1
    std::optional<double> alpha = std::nullopt;  // share of low-res tokens looked at again in full
};

// Seconds by step; a batch shares its engine calls equally.
struct Timing {
    double decode = 0, preprocess = 0, glue = 0, ee = 0, sac = 0;
    double total() const { return decode + preprocess + glue + ee + sac; }
};

struct SACVIT_API Prediction {
    std::string source;                 // the path, or what kind of source it was
    int stage = 1;                      // 1: the EE engine's answer stood, 2: the SAC engine's did
    int index = 0;                      // the most probable class, ties to the lower index
    std::vector<float> probabilities;   // of that stage, one for each class
    double stage_one_probability = 0;   // the highest of stage 1, which the gate compared with eta
    int grid = 0;                       // g: low-res tokens a side
    std::vector<std::int64_t> targets;  // low-res token indices, ascending; empty after an exit
    Timing timing;
    std::shared_ptr<const std::vector<std::string>> labels;

    const std::string& label() const { return (*labels)[static_cast<std::size_t>(index)]; }
    float probability() const { return probabilities[static_cast<std::size_t>(index)]; }
    // The k most probable classes, best first, ties to the lower index.
    std::vector<std::pair<int, float>> topk(int k = 5) const;
    // [g*g] row-major, 1 where stage 2 looked at full resolution; empty after an exit.
    std::vector<std::uint8_t> target_mask() const;
    // One line, as `sacvit-infer --json` prints it.
    std::string to_json(int k = 5) const;
};

// An answer, or the error one image met.
using Result = std::variant<Prediction, Error>;

// Answers in the order of the images; see Model::stream. To be used from one thread.
class SACVIT_API Stream {
public:
    // The next answer; nothing at the end.
    std::optional<Result> next();

    Stream(Stream&&) noexcept;
    Stream& operator=(Stream&&) noexcept;
    ~Stream();

private:
    friend class Model;
    struct Impl;
    explicit Stream(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

struct StreamOptions {
    int batch_size = 64;
    int workers = 0;  // threads that decode and resize ahead; 0 is one for each core
};

// A bundle opened for inference. Copies share the engines; safe to use from several threads.
class SACVIT_API Model {
public:
    explicit Model(const std::string& bundle, const Options& options = {});

    // Classify one image; throws its error.
    Prediction predict(const Source& source, const Gate& gate = {}) const;
    // Classify images in one EE call and at most one SAC call; a bad one gives its error in its place.
    std::vector<Result> predict_batch(const std::vector<Source>& sources, const Gate& gate = {}) const;
    // Classify any number of images with bounded memory. `sources` is called from Stream::next until it gives
    // nothing. Continuing images of several EE batches are joined to whole SAC batches.
    Stream stream(std::function<std::optional<Source>()> sources, const StreamOptions& options = {},
                  const Gate& gate = {}) const;

    const std::vector<std::string>& labels() const;
    double eta() const;                      // default gate of the loaded variant
    double alpha() const;                    // default share of targets
    int image_size() const;                  // S, pixels
    const std::string& precision() const;    // of the loaded variant
    const std::string& description() const;  // library, version, device and threads, for people

private:
    struct Impl;
    std::shared_ptr<const Impl> impl_;
    friend class Stream;
};

// A text as a JSON string, quotes included, ASCII only.
SACVIT_API std::string json_string(const std::string& value);

// The version of this library.
SACVIT_API const char* version();

}  // namespace sacvit
