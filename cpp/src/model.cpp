#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "backends/engine.hpp"
#include "backends/machine.hpp"
#include "bundle/bundle.hpp"
#include "images/live_source.hpp"
#include "scheduler.hpp"
#include "text.hpp"

namespace sacvit {

using namespace detail;

namespace {

constexpr int kBatch = 64;             // images of an engine call unless given
constexpr double kLongestDelay = 1e9;  // seconds, which the clock can still add

}  // namespace

// An open bundle and its engines.
struct Model::Opened {
    Opened(const std::string& path, const Options& options);

    Bundle bundle;
    std::shared_ptr<const std::vector<std::string>> labels;
    std::string precision;
    std::unique_ptr<Cascade> cascade;
    std::string description;
    Limits bounds;  // for one image

    Scheduler scheduler(const Gate& gate, std::size_t batch_size) const;
    Result result(Answer answer) const;
};

Model::Opened::Opened(const std::string& path, const Options& options)
    : bounds(limits(options.max_pixels, options.max_memory)) {
    if (options.threads < 0) {
        fail(ErrorCode::usage, "threads is ", options.threads, "; it must be at least 1, or 0 for one for each core");
    }
    auto backend = open_backend(options, options.threads > 0 ? options.threads : usable_cores());
    HeldFiles files;
    bundle = open_bundle(path, [&](const Bundle& found) {
        precision =
            options.precision == "auto"
                ? choose_precision(backend->precisions(found),
                                   options.backend == "onnxruntime" ? options.device : options.backend, cpu_features())
                : options.precision;
        files = backend->hold(found, precision);
    });
    description = backend->description();
    labels = std::make_shared<const std::vector<std::string>>(bundle.labels);
    cascade = std::make_unique<Cascade>(std::move(backend), std::move(files), bundle.manifest.config);
}

Scheduler Model::Opened::scheduler(const Gate& gate, std::size_t batch_size) const {
    const Config& config = bundle.manifest.config;
    const double eta = check_eta(gate.eta.value_or(bundle.eta_of(precision)));
    const auto count = static_cast<std::size_t>(config.num_targets(gate.alpha));
    return {make_stages(*cascade, count, batch_size), config.geometry, eta, batch_size, 8 * batch_size};
}

Result Model::Opened::result(Answer answer) const {
    if (answer.item.error) {
        return *answer.item.error;
    }
    Prediction out;
    out.source = std::move(answer.item.source);
    out.stage = answer.stage;
    out.probabilities.assign(answer.probabilities.begin(), answer.probabilities.end());
    out.index = static_cast<int>(std::max_element(out.probabilities.begin(), out.probabilities.end()) -
                                 out.probabilities.begin());
    out.stage_one_probability = answer.stage_one_probability;
    out.grid = static_cast<int>(bundle.manifest.config.geometry.grid());
    out.targets = std::move(answer.targets);
    out.timing = answer.item.timing;
    out.labels = labels;
    return out;
}

// What copies of a model have in common.
struct Model::Impl {
    Impl(const std::string& path, const Options& options_)
        : place(std::filesystem::absolute(path, no_folder)),
          options(options_),
          opened(std::make_shared<Opened>(path, options)) {
        options.library.clear();  // the process has loaded it
    }

    std::shared_ptr<const Opened> get() const {
        const std::lock_guard<std::mutex> lock(mutex);
        return opened;
    }

    std::error_code no_folder;    // where the current folder is gone
    std::filesystem::path place;  // from the root: the process may change its folder
    Options options;
    std::mutex reloading;
    mutable std::mutex mutex;
    std::shared_ptr<const Opened> opened;  // under the mutex
};

struct Stream::Impl {
    Impl(std::shared_ptr<const Model::Opened> model_, NextSource sources, std::size_t batch_size_, std::size_t workers,
         const StreamOptions& options, const Gate& gate)
        : model(std::move(model_)), batch_size(batch_size_), scheduler(model->scheduler(gate, batch_size)) {
        const Config& config = model->bundle.manifest.config;
        if (options.max_delay || options.keep == Keep::latest) {
            const std::chrono::duration<double> max_delay(options.max_delay.value_or(0));
            live.emplace(std::move(sources), config, model->bounds, options.keep, batch_size, max_delay, workers);
        } else {
            images.emplace(std::move(sources), config, model->bounds, 2 * batch_size, workers);
        }
    }

    // Gives the scheduler what comes next.
    void advance();
    std::vector<Item> next_batch();

    std::shared_ptr<const Model::Opened> model;
    std::size_t batch_size;
    Scheduler scheduler;
    std::optional<Prefetch> images;  // one of the two
    std::optional<LiveSource> live;
    bool under_way = false;  // live images that may be waiting for stage 2
    std::size_t position = 0;
    bool ended = false;
    std::exception_ptr failure;  // of the sources
};

void Stream::Impl::advance() {
    std::vector<Item> batch = next_batch();
    under_way = !batch.empty();
    scheduler.take(std::move(batch));
    if (ended || (live && !under_way)) {
        scheduler.finish();
    }
}

std::vector<Item> Stream::Impl::next_batch() {
    std::vector<Item> batch;
    try {
        if (live) {
            std::optional<std::vector<Item>> there = live->next(!under_way);
            ended = !there;
            return ended ? batch : std::move(*there);
        }
        while (batch.size() < batch_size && !ended) {
            std::optional<Item> item = images->next();
            ended = !item;
            if (item) {
                batch.push_back(std::move(*item));
            }
        }
    } catch (...) {
        failure = std::current_exception();  // the answers before it come first
        ended = true;
    }
    return batch;
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

std::optional<Result> Stream::next() {
    for (;;) {
        if (std::optional<Answer> answer = impl_->scheduler.next()) {
            impl_->position = answer->item.position.value_or(0);
            return impl_->model->result(std::move(*answer));
        }
        if (impl_->ended) {
            if (const std::exception_ptr failure = std::exchange(impl_->failure, nullptr)) {
                std::rethrow_exception(failure);
            }
            return std::nullopt;
        }
        impl_->advance();
    }
}

std::size_t Stream::position() const { return impl_->position; }
std::size_t Stream::taken() const { return impl_->live ? impl_->live->taken() : impl_->images->taken(); }
std::size_t Stream::dropped() const { return impl_->live ? impl_->live->dropped() : 0; }

Model::Model(const std::string& bundle, const Options& options) : impl_(std::make_shared<Impl>(bundle, options)) {}

void Model::reload() {
    const std::lock_guard<std::mutex> one_at_a_time(impl_->reloading);
    auto fresh = std::make_shared<const Opened>(impl_->place.string(), impl_->options);
    fresh->cascade->open_stage_two();
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->opened.swap(fresh);
}

Prediction Model::predict(const Source& source, const Gate& gate) const {
    Result result = std::move(predict_batch({source}, gate).front());
    if (const auto* error = std::get_if<Error>(&result)) {
        throw *error;
    }
    return std::get<Prediction>(std::move(result));
}

std::vector<Result> Model::predict_batch(const std::vector<Source>& sources, const Gate& gate) const {
    std::size_t at = 0;
    StreamOptions options;
    options.batch_size = static_cast<int>(std::max<std::size_t>(sources.size(), 1));
    options.workers = sources.size() <= 1 ? 1 : 0;
    Stream answers = stream(
        [&]() -> std::optional<Source> {
            return at < sources.size() ? std::optional<Source>(sources[at++]) : std::nullopt;
        },
        options, gate);
    std::vector<Result> out;
    while (std::optional<Result> result = answers.next()) {
        out.push_back(std::move(*result));
    }
    return out;
}

Stream Model::stream(std::function<std::optional<Source>()> sources, const StreamOptions& options,
                     const Gate& gate) const {
    if (options.batch_size < 0 || options.workers < 0) {
        fail(ErrorCode::usage,
             "batch_size must be at least 1, or 0 for the default, and workers at least 1, or 0 for one for each core");
    }
    if (options.max_delay && !(*options.max_delay >= 0 && *options.max_delay <= kLongestDelay)) {
        fail(ErrorCode::usage, "max_delay is ", *options.max_delay,
             "; it must be a number of seconds, 0 or more, or nothing to wait for whole batches");
    }
    if (options.keep != Keep::all && options.keep != Keep::latest) {
        fail(ErrorCode::usage, "keep must be Keep::all or Keep::latest");
    }
    const int batch_size = options.batch_size > 0 ? options.batch_size : options.keep == Keep::latest ? 1 : kBatch;
    const int workers = options.workers > 0 ? options.workers : usable_cores();
    return Stream(std::make_unique<Stream::Impl>(impl_->get(), std::move(sources), static_cast<std::size_t>(batch_size),
                                                 static_cast<std::size_t>(workers), options, gate));
}

std::vector<std::string> Model::labels() const { return *impl_->get()->labels; }
double Model::eta() const {
    const auto opened = impl_->get();
    return opened->bundle.eta_of(opened->precision);
}
double Model::alpha() const { return impl_->get()->bundle.manifest.config.method.alpha; }
int Model::image_size() const { return static_cast<int>(impl_->get()->bundle.manifest.config.geometry.image_size); }
std::string Model::precision() const { return impl_->get()->precision; }
std::string Model::description() const { return impl_->get()->description; }

const char* version() { return SACVIT_VERSION; }

}  // namespace sacvit
