// A plugin's device gives the CPU's answers, and nothing but images, indices and answers crosses to it and back. argv:
// DEVICE IMAGES COUNT BUNDLE... Ends with 77 where there is no such device.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "backends/engine.hpp"
#include "bundle/bundle.hpp"
#include "bundle_copy.hpp"
#include "cascade.hpp"
#include "check.hpp"
#include "images/budget.hpp"
#include "images/prefetch.hpp"
#include "sacvit/sacvit.hpp"
#include "stages/stages.hpp"

namespace {

constexpr int kSkipped = 77;

sacvit::Options options(const std::string& device, const std::string& precision = "fp32") {
    sacvit::Options out;
    out.device = device;
    out.precision = precision;
    return out;
}

std::vector<std::string> images_in(const std::string& folder, std::size_t count) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        out.push_back(entry.path().string());
    }
    std::sort(out.begin(), out.end());
    out.resize(std::min(out.size(), count));
    return out;
}

// All answers in small batches, so that stage 2 joins images of several.
std::vector<sacvit::Prediction> answers(const sacvit::Model& model, const std::vector<std::string>& paths, double eta,
                                        int batch) {
    std::size_t at = 0;
    sacvit::Stream stream = model.stream(
        [&]() -> std::optional<sacvit::Source> {
            return at < paths.size() ? std::optional<sacvit::Source>(paths[at++]) : std::nullopt;
        },
        {batch}, {eta});
    std::vector<sacvit::Prediction> out;
    while (const auto result = stream.next()) {
        if (const auto* error = std::get_if<sacvit::Error>(&*result)) {
            CHECK(false, error->what());
        } else {
            out.push_back(std::get<sacvit::Prediction>(*result));
        }
    }
    return out;
}

void same(const std::vector<sacvit::Prediction>& actual, const std::vector<sacvit::Prediction>& expected) {
    EQUAL(actual.size(), expected.size());
    for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
        EQUAL(actual[i].source, expected[i].source);
        EQUAL(actual[i].stage, expected[i].stage, expected[i].source);
        EQUAL(actual[i].label(), expected[i].label(), expected[i].source);
        CHECK(actual[i].targets == expected[i].targets, expected[i].source, " has other targets");
        CHECK(std::fabs(actual[i].stage_one_probability - expected[i].stage_one_probability) < 1e-4);
        for (std::size_t c = 0; c < expected[i].probabilities.size(); ++c) {
            CHECK(std::fabs(actual[i].probabilities[c] - expected[i].probabilities[c]) < 1e-4f, expected[i].source);
        }
    }
}

void test_answers(const std::string& bundle, const sacvit::Options& device, const std::vector<std::string>& paths) {
    const auto expected = answers(sacvit::Model(bundle, options("cpu")), paths, 0.6, 5);
    const auto continued = std::count_if(expected.begin(), expected.end(), [](const auto& p) { return p.stage == 2; });
    CHECK(continued > 1 && continued < static_cast<std::ptrdiff_t>(paths.size()), continued, " images continue");
    same(answers(sacvit::Model(bundle, device), paths, 0.6, 5), expected);
}

// After a reload, and by two threads at a time, image by image.
void test_sharing(const std::string& bundle, const sacvit::Options& device, const std::vector<std::string>& paths) {
    const std::vector<std::string> few(paths.begin(), paths.begin() + 2);
    const auto expected = answers(sacvit::Model(bundle, options("cpu")), few, 1, 2);
    sacvit::Model model(bundle, device);
    model.reload();
    std::vector<sacvit::Prediction> side;
    std::thread other([&] { side = answers(model, few, 1, 1); });
    const auto here = answers(model, few, 1, 1);
    other.join();
    same(here, expected);
    same(side, expected);
}

// A bundle without engines for the steps between: tensors go by way of the host.
void test_without_glue(const std::string& bundle, const sacvit::Options& device,
                       const std::vector<std::string>& paths) {
    const Copy copy(bundle);
    copy.edit([](json& manifest) {
        for (const char* role : {"view", "gather"}) {
            manifest["variants"]["fp32"]["files"].erase(role);
        }
    });
    test_answers(copy.path.string(), device, paths);
}

// Both stages step by step, three images and then one more: every byte that crosses to the device or back.
void test_traffic(const std::string& path, const sacvit::Options& device, const std::vector<std::string>& paths) {
    using namespace sacvit::detail;
    auto backend = open_backend(device, 1);
    HeldFiles files;
    const Bundle bundle = open_bundle(path, [&](const Bundle& found) { files = backend->hold(found, "fp32"); });
    const Config& config = bundle.manifest.config;
    const Cascade cascade(std::move(backend), std::move(files), config);
    DeviceMemory* const memory = cascade.memory();
    CHECK(memory != nullptr, "the tensors of ", path, " do not stay on the device");
    if (memory == nullptr) {
        return;
    }
    const auto count = static_cast<std::uint64_t>(config.num_targets());
    const auto tokens = static_cast<std::uint64_t>(config.geometry.tokens());
    const auto classes = static_cast<std::uint64_t>(config.geometry.classes);
    const auto picture = static_cast<std::uint64_t>(3 * config.geometry.image_size * config.geometry.image_size);
    std::vector<Pixels> pixels;
    for (std::size_t i = 0; i < 4; ++i) {
        pixels.push_back(prepare(paths[i], config, limits(0, 0)).pixels);
    }
    std::uint64_t up = 0, down = 0;
    const auto crossed = [&](std::uint64_t more_up, std::uint64_t more_down, const char* step) {
        up += more_up;
        down += more_down;
        EQUAL(memory->traffic().up, up, "bytes up, ", step);
        EQUAL(memory->traffic().down, down, "bytes down, ", step);
    };
    const auto stages = make_stages(cascade, count, 4);
    Clock clock(1);
    stages->stage_one({&pixels[0], &pixels[1], &pixels[2]}, clock);
    crossed(3 * picture, 3 * classes * sizeof(float), "stage 1");
    stages->queue({0, 2}, clock);
    // Up go rows, slots and rest, down come targets.
    crossed((2 + tokens) * sizeof(std::int64_t), 2 * count * sizeof(std::int64_t), "two continue");
    stages->stage_one({&pixels[3]}, clock);
    crossed(picture, classes * sizeof(float), "stage 1 again");
    stages->queue({0}, clock);
    crossed((1 + tokens) * sizeof(std::int64_t), count * sizeof(std::int64_t), "one continues");
    const StageTwoAnswers answers = stages->stage_two(3, clock);
    crossed(0, 3 * classes * sizeof(float), "stage 2");
    EQUAL(answers.logits.size(), 3 * classes);
    EQUAL(answers.targets.size(), 3 * count);
}

void test_refusals(const std::string& bundle, const std::string& device, const sacvit::Model& model) {
    CHECK(model.description().find("ONNX Runtime ") == 0, model.description());
    if (model.description().find("without fp16") != std::string::npos) {
        EQUAL(model.precision(), "fp32");
        REFUSES(backend, "can't run fp16: this adapter has no fp16 shaders; take --precision fp32",
                sacvit::Model(bundle, options(device, "fp16")));
    }
    if (device == "webgpu") {
        REFUSES(backend, "can't run int8: this provider has no int8 products",
                sacvit::Model(bundle, options(device, "int8")));
    }
    REFUSES(usage, "a device is cpu, cuda, cuda:1, webgpu", sacvit::Model(bundle, options(device + ":x")));
    REFUSES(backend, "there is no number 99", sacvit::Model(bundle, options(device + ":99")));
}

// Whether opening failed for want of the plugin's library or of a GPU, not of anything of ours.
bool is_missing(const std::string& message) {
    const auto reasons = {"has no provider webgpu", "below the minimum required version",
                          "there is no execution provider at", "WebGPU finds no GPU"};
    return std::any_of(reasons.begin(), reasons.end(),
                       [&](const char* reason) { return message.find(reason) != message.npos; });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        return 2;
    }
    const std::string device = argv[1];
    const auto paths = images_in(argv[2], std::strtoul(argv[3], nullptr, 10));
    sacvit::Options nowhere = options(device);
    nowhere.ep_library = "/nowhere/plugin.so";
    // The second is an older ONNX Runtime's answer.
    try {
        sacvit::Model(argv[4], nowhere);
        CHECK(false, "a plugin was opened from nowhere");
    } catch (const sacvit::Error& error) {
        const std::string message = error.what();
        CHECK(message.find("there is no execution provider at /nowhere/plugin.so; name its library") == 0 ||
                  message.find("; plugins such as webgpu need 1.23 or later") != message.npos,
              message);
    }
    std::optional<sacvit::Model> model;
    try {
        model.emplace(argv[4], options(device, "auto"));
    } catch (const sacvit::Error& error) {
        if (!is_missing(error.what())) {
            throw;
        }
        std::printf("NOT TESTED: %s\n", error.what());
        return check::failures == 0 ? kSkipped : 1;
    }
    test_refusals(argv[4], device, *model);
    test_traffic(argv[4], options(device), paths);
    test_sharing(argv[4], options(device), paths);
    test_without_glue(argv[4], options(device), paths);
    for (int i = 4; i < argc; ++i) {
        test_answers(argv[i], options(device), paths);
    }
    return check::result();
}
