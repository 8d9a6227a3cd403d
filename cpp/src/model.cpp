#include <algorithm>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "backends/machine.hpp"
#include "opened.hpp"
#include "stream.hpp"
#include "text.hpp"

namespace sacvit {

using namespace detail;

namespace {

constexpr int kBatch = 64;             // images of an engine call unless given
constexpr double kLongestDelay = 1e9;  // seconds, which the clock can still add

}  // namespace

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
