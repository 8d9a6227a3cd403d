// A plugin's device gives the CPU's answers, and nothing but images, indices and answers crosses to it and back. argv:
// DEVICE IMAGES COUNT BUNDLE... Ends with 77 where there is no such device.
#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

#include "bundle_copy.hpp"
#include "device_answers.hpp"

namespace {

constexpr int kSkipped = 77;

sacvit::Options options(const std::string& device, const std::string& precision = "fp32") {
    sacvit::Options out;
    out.device = device;
    out.precision = precision;
    return out;
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
    test_traffic(cascade_on(sacvit::detail::open_backend(options(device), 1), argv[4], "fp32"), paths, false);
    test_sharing(argv[4], options(device), paths);
    test_without_glue(argv[4], options(device), paths);
    for (int i = 4; i < argc; ++i) {
        test_answers(argv[i], options(device), paths);
    }
    return check::result();
}
