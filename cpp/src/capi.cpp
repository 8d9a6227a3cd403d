#include <algorithm>
#include <deque>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "sacvit/sacvit.h"
#include "sacvit/sacvit.hpp"

// What a model's functions return pointers to.
struct sacvit_facts {
    explicit sacvit_facts(const sacvit::Model& model)
        : labels(model.labels()), description(model.precision() + " on " + model.description()) {}

    std::vector<std::string> labels;
    std::string description;
};

struct sacvit_model {
    explicit sacvit_model(sacvit::Model model_) : model(std::move(model_)) { facts.emplace_back(model); }

    const sacvit_facts& latest() const {
        const std::lock_guard<std::mutex> lock(mutex);
        return facts.back();
    }

    void reload() {
        model.reload();
        const std::lock_guard<std::mutex> lock(mutex);
        sacvit_facts now(model);
        if (now.labels != facts.back().labels || now.description != facts.back().description) {
            facts.push_back(std::move(now));
        }
    }

    sacvit::Model model;
    mutable std::mutex mutex;
    std::deque<sacvit_facts> facts;  // of every reload that changed them: pointers to the old ones stay valid
};

struct sacvit_prediction : sacvit::Prediction {
    explicit sacvit_prediction(sacvit::Prediction prediction)
        : Prediction(std::move(prediction)), mask(target_mask()), json(to_json(1)) {}

    std::vector<std::uint8_t> mask;
    std::string json;
};

namespace {

thread_local std::string last_error;

sacvit_status note(sacvit_status status, const char* message) noexcept {
    try {
        last_error = message;
    } catch (...) {
        last_error.clear();
    }
    return status;
}

// Runs `body`; whatever it throws becomes a status.
template <typename Body>
sacvit_status guarded(Body body) noexcept {
    try {
        body();
        return SACVIT_OK;
    } catch (const sacvit::Error& error) {
        return note(static_cast<sacvit_status>(error.code()), error.what());
    } catch (const std::bad_alloc&) {
        return note(SACVIT_ERROR_INTERNAL, "out of memory");
    } catch (const std::exception& error) {
        return note(SACVIT_ERROR_INTERNAL, error.what());
    } catch (...) {
        return note(SACVIT_ERROR_INTERNAL, "unknown error");
    }
}

void need(bool given, const char* argument) {
    if (!given) {
        throw sacvit::Error(sacvit::ErrorCode::usage, std::string(argument) + " is NULL");
    }
}

sacvit::Source source_of(const sacvit_source& source) {
    if (source.path != nullptr) {
        return std::string(source.path);
    }
    if (source.width == 0 || source.data == nullptr) {  // without data it is refused as an image, by itself
        return sacvit::Bytes{source.data, source.size};
    }
    return sacvit::ImageView{static_cast<const std::uint8_t*>(source.data),
                             source.width,
                             source.height,
                             source.pitch,
                             static_cast<sacvit::PixelFormat>(source.format),
                             static_cast<sacvit::YuvColors>(source.colors),
                             static_cast<const std::uint8_t*>(source.u),
                             static_cast<const std::uint8_t*>(source.v),
                             source.chroma_pitch};
}

sacvit::Gate gate_of(double eta, double alpha) {
    // NaN is no default: it goes on and is refused.
    return {eta < 0 ? std::nullopt : std::optional<double>(eta),
            alpha < 0 ? std::nullopt : std::optional<double>(alpha)};
}

}  // namespace

extern "C" {

sacvit_status sacvit_open(const char* bundle, const sacvit_options* options, sacvit_model** out) {
    return guarded([&] {
        need(out != nullptr, "out");
        *out = nullptr;
        need(bundle != nullptr, "bundle");
        sacvit::Options chosen;
        if (options != nullptr) {
            const auto set = [](std::string& to, const char* from) { to = from == nullptr ? to : std::string(from); };
            set(chosen.precision, options->precision);
            set(chosen.backend, options->backend);
            set(chosen.device, options->device);
            set(chosen.library, options->library);
            set(chosen.ep_library, options->ep_library);
            chosen.threads = options->threads;
            chosen.max_pixels = options->max_pixels;
            chosen.max_memory = options->max_memory;
            chosen.weights = options->mapped ? sacvit::Weights::mapped : sacvit::Weights::packed;
        }
        *out = new sacvit_model(sacvit::Model(bundle, chosen));
    });
}

sacvit_status sacvit_reload(sacvit_model* model) {
    return guarded([&] {
        need(model != nullptr, "model");
        model->reload();
    });
}

void sacvit_close(sacvit_model* model) { delete model; }

sacvit_status sacvit_predict(const sacvit_model* model, const sacvit_source* source, double eta, double alpha,
                             sacvit_prediction** out) {
    return guarded([&] {
        need(out != nullptr, "out");
        *out = nullptr;
        need(model != nullptr, "model");
        need(source != nullptr, "source");
        *out = new sacvit_prediction(model->model.predict(source_of(*source), gate_of(eta, alpha)));
    });
}

sacvit_status sacvit_predict_batch(const sacvit_model* model, const sacvit_source* sources, size_t count, double eta,
                                   double alpha, sacvit_status* statuses, sacvit_prediction** out) {
    const sacvit_status status = guarded([&] {
        need(out != nullptr && statuses != nullptr, "out or statuses");
        std::fill_n(out, count, nullptr);
        need(model != nullptr, "model");
        need(sources != nullptr || count == 0, "sources");
        std::vector<sacvit::Source> images(count);
        std::transform(sources, sources + count, images.begin(), source_of);
        std::vector<sacvit::Result> results = model->model.predict_batch(images, gate_of(eta, alpha));
        for (size_t i = 0; i < count; ++i) {
            statuses[i] = guarded([&] {
                if (const auto* error = std::get_if<sacvit::Error>(&results[i])) {
                    throw *error;
                }
                out[i] = new sacvit_prediction(std::get<sacvit::Prediction>(std::move(results[i])));
            });
        }
    });
    if (status != SACVIT_OK && statuses != nullptr) {
        std::fill_n(statuses, count, status);
    }
    return status;
}

void sacvit_prediction_free(sacvit_prediction* prediction) { delete prediction; }

int sacvit_prediction_stage(const sacvit_prediction* prediction) { return prediction ? prediction->stage : 0; }
int sacvit_prediction_index(const sacvit_prediction* prediction) { return prediction ? prediction->index : 0; }

const char* sacvit_prediction_label(const sacvit_prediction* prediction) {
    return prediction ? prediction->label().c_str() : nullptr;
}

double sacvit_prediction_stage_one_probability(const sacvit_prediction* prediction) {
    return prediction ? prediction->stage_one_probability : 0;
}

const float* sacvit_prediction_probabilities(const sacvit_prediction* prediction, size_t* count) {
    if (count != nullptr) {
        *count = prediction ? prediction->probabilities.size() : 0;
    }
    return prediction ? prediction->probabilities.data() : nullptr;
}

const uint8_t* sacvit_prediction_target_mask(const sacvit_prediction* prediction, int* grid) {
    if (grid != nullptr) {
        *grid = prediction ? prediction->grid : 0;
    }
    return prediction && !prediction->mask.empty() ? prediction->mask.data() : nullptr;
}

const char* sacvit_prediction_json(const sacvit_prediction* prediction) {
    return prediction ? prediction->json.c_str() : nullptr;
}

size_t sacvit_class_count(const sacvit_model* model) { return model ? model->latest().labels.size() : 0; }

const char* sacvit_class_label(const sacvit_model* model, size_t index) {
    if (model == nullptr) {
        return nullptr;
    }
    const std::vector<std::string>& labels = model->latest().labels;
    return index < labels.size() ? labels[index].c_str() : nullptr;
}

const char* sacvit_description(const sacvit_model* model) {
    return model ? model->latest().description.c_str() : nullptr;
}

const char* sacvit_last_error(void) { return last_error.c_str(); }
const char* sacvit_version(void) { return sacvit::version(); }

}  // extern "C"
