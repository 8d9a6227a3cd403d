// The runtime of SAC-ViT bundles: sacvit::Model("model.sacvit").predict("image.jpg", {0.6}).
//
// It gives the same answers as the Python package sacvit_deploy. Functions throw sacvit::Error, and std::bad_alloc
// where memory runs out outside of an image. sacvit.h is the interface for other languages, with statuses instead of
// exceptions.
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
    backend,    // an inference library that is missing or failed
    output,     // an engine gave NaN or infinite values
    usage,      // an argument out of range
};

// An error of one kind. Its message is one sentence: the problem, the place, the remedy.
class SACVIT_API Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

// 8 bits for each channel, interleaved; an image with alpha is laid over white. Of luma and chroma, as cameras and
// video decoders have them: nv12 (a plane of Y, one of U and V in turn for each 2 x 2 pixels), i420 (planes of Y, U,
// V), yuyv (Y U Y V for each two pixels, one plane; V4L2's YUYV, GStreamer's YUY2).
enum class PixelFormat { rgb, bgr, gray, rgba, bgra, nv12, i420, yuyv };

// The matrix of YUV pixels, and whether Y is 16 to 235 and U and V 16 to 240, or all 0 to 255.
enum class YuvColors { bt601, bt601_full, bt709, bt709_full };

// Pixels in memory, such as a camera's buffer. They are not copied, so they must stay valid until the answer is
// returned, or, in a stream of a live source, until the next one is asked for.
struct ImageView {
    const std::uint8_t* data = nullptr;
    int width = 0;             // pixels
    int height = 0;            // pixels
    std::ptrdiff_t pitch = 0;  // bytes from one row to the next; negative where `data` is the last row in memory
    PixelFormat format = PixelFormat::rgb;
    // Of YUV formats. Chroma of an odd width or height is rounded up: the last column or row has its own.
    YuvColors colors = YuvColors::bt601;
    const std::uint8_t* u = nullptr;  // nv12's U and V, i420's U; nullptr: behind `height` rows of Y, an even number
    const std::uint8_t* v = nullptr;  // i420's V; nullptr: behind U
    std::ptrdiff_t chroma_pitch = 0;  // of U and V; 0: nv12's is `pitch`, i420's half of it
};

// A JPEG or PNG file in memory, which must stay valid until the answer is returned.
struct Bytes {
    const void* data = nullptr;
    std::size_t size = 0;  // bytes
};

// The source of an image; a string is the path of a JPEG or PNG file.
using Source = std::variant<std::string, Bytes, ImageView>;

enum class Weights {
    packed,  // rearranged for speed, one copy shared by both engines
    mapped,  // read in place, as the file has them: opens at once
};

// How a bundle is opened.
struct Options {
    std::string precision = "auto";       // fp32, fp16 or int8; auto is the best variant for this processor
    std::string backend = "onnxruntime";  // or "tensorrt", for plans by `sacvit build`, where it was built in
    // cpu, cuda, cuda:N, webgpu, or an execution provider as ONNX Runtime lists it, in full or without
    // `ExecutionProvider`. Empty: the CPU; with the backend "tensorrt", the first GPU.
    std::string device;
    int threads = 0;  // CPU threads of an engine call; 0: one for each core this process may use
    Weights weights = Weights::packed;
    // libonnxruntime.so, or a folder with it; empty: $SACVIT_ORT_LIBRARY, $ORT_ROOT, then the system's. A process has
    // one such library: the first one opened.
    std::string library;
    // The file of a provider that is a plugin, such as webgpu; empty: $SACVIT_EP_LIBRARY, then beside libonnxruntime
    // and in the folder of the provider's Python package beside ONNX Runtime's.
    std::string ep_library;
    // What an image may have; more is refused by its header. 0 is the default: 110 million pixels, and 600 MB for one
    // image and 2.4 GB, or half of what is free, for all of the process. A max_memory in MB is for all images of this
    // model that are decoded at a time, and a single one may take all of it.
    int max_pixels = 0;
    int max_memory = 0;
};

// The thresholds of one call; by default the bundle's.
struct Gate {
    std::optional<double> eta = std::nullopt;  // exit after stage 1 above this probability, 0 to 1
    // Share of tokens, or of the window's if the model has one, that stage 2 sees at full resolution, 0 to 1.
    std::optional<double> alpha = std::nullopt;
};

// Seconds per image and step; the time of an engine call is divided equally among the images of its batch.
struct Timing {
    double decode = 0, preprocess = 0, glue = 0, ee = 0, sac = 0;
    double total() const { return decode + preprocess + glue + ee + sac; }
};

// The answer for one image.
struct SACVIT_API Prediction {
    std::string source;                 // the path, or <bytes> or <pixels>
    int stage = 1;                      // 1: the EE engine's answer, after an exit; 2: the SAC engine's
    int index = 0;                      // the most probable class, ties to the lower index
    std::vector<float> probabilities;   // [C], of that stage
    double stage_one_probability = 0;   // the highest probability of stage 1, compared with eta
    int grid = 0;                       // g: low-res tokens a side
    std::vector<std::int64_t> targets;  // [M] low-res token indices, ascending; empty after an exit
    Timing timing;
    std::shared_ptr<const std::vector<std::string>> labels;

    const std::string& label() const { return (*labels)[static_cast<std::size_t>(index)]; }
    float probability() const { return probabilities[static_cast<std::size_t>(index)]; }
    // The k most probable classes, best first, ties to the lower index.
    std::vector<std::pair<int, float>> topk(int k = 5) const;
    // [g*g] row-major, 1 where stage 2 saw full resolution; empty after an exit.
    std::vector<std::uint8_t> target_mask() const;
    // One line of JSON with k classes, as `sacvit-infer --json` prints it.
    std::string to_json(int k = 5) const;
};

// The answer for one image, or its error.
using Result = std::variant<Prediction, Error>;

// Answers in the order of the images, made by Model::stream. Not safe to use from several threads.
class SACVIT_API Stream {
public:
    // The next answer; nothing at the end. Throws the errors of the engines and, behind the answers for the images
    // before it, what `sources` throws; an image's own error is in the Result.
    std::optional<Result> next();

    // The number in the source, from 0, of the image whose answer `next` returned last.
    std::size_t position() const;
    // Images taken from the source so far, and those of them that newer ones pushed out before they were begun.
    std::size_t taken() const;
    std::size_t dropped() const;

    Stream(Stream&&) noexcept;
    Stream& operator=(Stream&&) noexcept;
    ~Stream();

private:
    friend class Model;
    struct Impl;
    explicit Stream(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// Which images are answered where they come faster than their answers.
enum class Keep {
    all,     // every one: the source is asked for the next one later
    latest,  // the newest: it pushes out those that wait
};

struct StreamOptions {
    int batch_size = 0;  // images in an engine call; 0: 64, or 1 where the latest are kept, of which so many may wait
    int workers = 0;     // threads that decode and resize in advance; 0: one for each core
    // For a camera and other sources that set the pace: with either of these a thread calls `sources` and copies its
    // pixels, and both stages begin with what there is as soon as they have nothing else to do. max_delay: seconds
    // after which an image waits for no others, only for calls under way. See docs/live.md.
    std::optional<double> max_delay = std::nullopt;
    Keep keep = Keep::all;
};

// A bundle opened for inference. Copies share the engines; safe to use from several threads. The bundle's files are
// read when it is opened: what happens to them later changes no answer.
class SACVIT_API Model {
public:
    // Opens a bundle folder. Throws Error (bundle, backend, usage).
    explicit Model(const std::string& bundle, const Options& options = {});

    // Classifies one image. Throws its error.
    Prediction predict(const Source& source, const Gate& gate = {}) const;
    // Classifies images in one EE call and at most one SAC call. A bad image gives its error in its place. Throws Error
    // (usage, backend) where the whole batch fails.
    std::vector<Result> predict_batch(const std::vector<Source>& sources, const Gate& gate = {}) const;
    // Classifies any number of images with bounded memory. Stream::next calls `sources` until it returns nothing.
    // Continuing images of several EE batches are joined into whole SAC batches. The destructor of a live source's
    // stream waits for the call of `sources` at hand. Throws Error (usage).
    Stream stream(std::function<std::optional<Source>()> sources, const StreamOptions& options = {},
                  const Gate& gate = {}) const;

    // Opens the bundle again at its place, with the same options, and answers by it from now on, as all copies do;
    // calls and streams that have begun end with the old one. Throws Error (bundle, backend), and the old one stays.
    void reload();

    std::vector<std::string> labels() const;
    double eta() const;               // default eta of the loaded variant
    double alpha() const;             // default share of target tokens
    int image_size() const;           // S, pixels
    std::string precision() const;    // of the loaded variant
    std::string description() const;  // library, version, device and threads

private:
    struct Opened;
    struct Impl;
    std::shared_ptr<Impl> impl_;
    friend class Stream;
};

// The text with line breaks and other control characters escaped, for a terminal or a log.
SACVIT_API std::string printable(const std::string& value);

// A JSON string, quotes included, ASCII only.
SACVIT_API std::string json_string(const std::string& value);

// The version of this library.
SACVIT_API const char* version();

}  // namespace sacvit
