// Every step of the cascade and every answer, against the Python runtime: argv[1] is make_golden.py's file, argv[2] how
// far numbers of the engines may be off, relatively: another processor sums in another order.
#include <fstream>

#include <nlohmann/json.hpp>

#include "backends/engine.hpp"
#include "bundle/bundle.hpp"
#include "check.hpp"
#include "files.hpp"
#include "glue.hpp"
#include "images/decode.hpp"
#include "scheduler.hpp"

using namespace sacvit::detail;
using nlohmann::json;

namespace {

double tolerance = 0;

template <typename T>
std::string hash(const std::vector<T>& values) {
    return sha256({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

const float* floats(const Outputs& outputs, const char* name) {
    return static_cast<const float*>(outputs.at(name).data);
}

// Relative to the largest expected value. Where the engines are the same library, packing or sharing changes nothing.
void near(const float* actual, const std::vector<float>& expected, const std::string& name) {
    float largest = 0, error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::fabs(expected[i]));
        error = std::max(error, std::fabs(actual[i] - expected[i]));
    }
    CHECK(static_cast<double>(error) <= tolerance * static_cast<double>(largest), name, " differ by ", error, " of ",
          largest);
}

void same_answer(const json& answer, const json& expected) {
    for (const char* key : {"source", "label", "index", "stage", "grid", "targets"}) {
        EQUAL(answer.at(key), expected.at(key), key, " ", expected);
    }
    for (const char* key : {"probability", "stage_one_probability"}) {
        CHECK(std::fabs(answer.at(key).get<double>() - expected.at(key).get<double>()) <= std::max(tolerance, 2e-6),
              key, answer, expected);
    }
    for (std::size_t i = 0; i < expected.at("topk").size(); ++i) {
        EQUAL(answer["topk"][i]["label"], expected["topk"][i]["label"]);
    }
}

void test_steps(const Cascade& cascade, const Config& config, const json& image) {
    const int size = static_cast<int>(config.geometry.image_size);
    const std::string path = image["path"];
    const Limits bounds = limits();
    Share share(bounds);
    const Image decoded = decode_file(path, share);
    const Pixels pixels = fit(decoded.view(), size, config.preprocessing, path);
    EQUAL(hash(pixels), image["pixels"], path);
    std::vector<float> low(pixels.size() / 4);
    low_view(pixels.data(), size, config.method.downsample, cascade.normalise(), low.data());
    EQUAL(hash(low), image["low"], path);
    const Outputs out = cascade.stage_one(low, 1);
    near(floats(out, "logits"), image["logits"], path + " stage 1 logits");
    near(floats(out, "scores"), image["scores"], path + " scores");
    for (const json& expected : image["cases"]) {
        const auto count = static_cast<std::size_t>(config.num_targets(expected["alpha"].get<double>()));
        const auto targets = choose_targets(floats(out, "scores"), count, config);
        EQUAL(json(targets), expected["targets"], path);
        StageTwoRequest request;
        request.add(pixels, out, 0, targets, config);
        EQUAL(json(request.positions), expected["positions"], path);
        const std::vector<float> patches = normalised_patches(request, config.geometry, cascade.normalise());
        EQUAL(hash(patches), expected["patches"], path);
        near(floats(cascade.stage_two(request, patches), "logits"), expected["logits"], path + " stage 2 logits");
    }
}

void test_answers(const sacvit::Model& model, const json& image) {
    for (const json& expected : image["cases"]) {
        for (const json& wanted : expected["answers"]) {
            const auto actual = model.predict(image["path"].get<std::string>(), {wanted["eta"], expected["alpha"]});
            CHECK(!wanted.contains("error"), wanted);
            same_answer(json::parse(actual.to_json(3)), wanted);
            const json mask = actual.target_mask();
            EQUAL(mask.empty() ? json() : mask, wanted["mask"]);
        }
    }
}

void test_stream(const sacvit::Model& model, const json& expected) {
    std::size_t at = 0;
    const auto next = [&]() -> std::optional<sacvit::Source> {
        // The images that make_golden.py streamed.
        return at < expected.size() ? std::optional<sacvit::Source>(expected[at++]["source"].get<std::string>())
                                    : std::nullopt;
    };
    sacvit::Stream stream = model.stream(next, {3, 2}, {0.6, std::nullopt});
    for (const json& wanted : expected) {
        const std::optional<sacvit::Result> result = stream.next();
        if (!result) {
            CHECK(false, "the stream ended early");
            return;
        }
        if (const auto* error = std::get_if<sacvit::Error>(&*result)) {
            const std::string message = error->what();
            CHECK(wanted.contains("error") && error->code() == sacvit::ErrorCode::image, message);
            CHECK(message.find(wanted["source"].get<std::string>()) != message.npos, message);
        } else {
            CHECK(!wanted.contains("error"), wanted);
            same_answer(json::parse(std::get<sacvit::Prediction>(*result).to_json(1)), wanted);
        }
    }
    CHECK(!stream.next());
    CHECK(!stream.next());
}

}  // namespace

int main(int, char** argv) {
    tolerance = std::stod(argv[2]);
    std::ifstream file(argv[1]);
    const json golden = json::parse(file);
    for (const json& entry : golden["bundles"]) {
        const std::string path = entry["bundle"], precision = entry["precision"];
        std::printf("%s, %s, %zu images\n", path.c_str(), precision.c_str(), entry["images"].size());
        const Bundle bundle = open_bundle(path);
        const Config& config = bundle.manifest.config;
        EQUAL(json(bundle.labels), entry["labels"]);
        for (const auto weights : {sacvit::Weights::packed, sacvit::Weights::mapped}) {
            sacvit::Options options;
            options.threads = 1;
            options.precision = precision;
            options.weights = weights;
            const sacvit::Model model(path, options);
            EQUAL(model.eta(), entry["eta"]);
            EQUAL(model.precision(), precision);
            CHECK(model.description().find(golden["onnxruntime"].get<std::string>()) != std::string::npos,
                  model.description());
            const bool mapped = weights == sacvit::Weights::mapped;
            test_stream(model, entry["streams"][mapped ? "mapped" : "packed"]);
            if (mapped) {
                continue;  // every image is compared with packed weights, Python's default
            }
            const Cascade cascade(open_ort_backend(options, 1), bundle.hold(precision), config);
            for (const json& image : entry["images"]) {
                test_steps(cascade, config, image);
                test_answers(model, image);
            }
        }
    }
    return check::result();
}
