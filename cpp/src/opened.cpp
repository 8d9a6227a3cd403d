#include "opened.hpp"

#include <algorithm>
#include <utility>

#include "backends/engine.hpp"
#include "backends/machine.hpp"
#include "text.hpp"

namespace sacvit {

using namespace detail;

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

}  // namespace sacvit
