// Plans found and refused as by Python, and the TensorRT backend over stand-ins for CUDA and TensorRT, which say
// nothing about a GPU: shapes, buffers, profiles, threads, errors. argv: CASES IMAGES.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "backends/tensorrt/cuda.hpp"
#include "backends/tensorrt/trt_engine.hpp"
#include "bundle/plans.hpp"
#include "check.hpp"
#include "standin/standin.hpp"

using namespace sacvit::detail;
using nlohmann::json;

namespace {

void test_find_plans(const json& cases) {
    int refused = 0;
    for (const json& entry : cases) {
        const json& target = entry["place"];
        const BuildTarget here{target["runtime"], target["version"], target["device"], target["capabilities"][0]};
        const auto find = [&] { return find_plans(open_bundle(entry["bundle"]), entry["precision"], here); };
        if (entry.contains("error")) {
            ++refused;
            REFUSES(bundle, entry["named"].get<std::string>(), find());
            continue;
        }
        json plans;
        for (const auto& [role, plan] : find()) {
            plans[role] = plan.path;
        }
        EQUAL(plans, entry["plans"], entry);
    }
    CHECK(refused >= 10, refused);
}

void test_profiles() {
    const auto images = [](std::int64_t least, std::int64_t greatest) {
        return Profile{{"image", {{least, 3}, {greatest, 3}}}};
    };
    const std::vector<Profile> profiles = {images(1, 8), images(1, 1)};
    EQUAL(choose_profile(profiles, {{"image", {1, 3}}}, "ee.plan"), 1u);
    EQUAL(choose_profile(profiles, {{"image", {2, 3}}}, "ee.plan"), 0u);
    EQUAL(choose_profile(profiles, {{"image", {8, 3}}}, "ee.plan"), 0u);
    REFUSES(backend, "ee.plan takes `image` of [1, 3] to [8, 3], not [9, 3]; ask for another batch",
            choose_profile(profiles, {{"image", {9, 3}}}, "ee.plan"));
    REFUSES(backend, "not [3]", choose_profile(profiles, {{"image", {3}}}, "ee.plan"));
    REFUSES(backend, "asks for `image`", choose_profile(profiles, {}, "ee.plan"));
    REFUSES(backend, "has no profile", choose_profile({}, {{"image", {1, 3}}}, "ee.plan"));
}

sacvit::Options with(const std::string& backend, const std::string& precision) {
    sacvit::Options out;
    out.backend = backend;
    out.precision = precision;
    out.threads = 1;
    return out;
}

void same(const std::vector<sacvit::Result>& actual, const std::vector<sacvit::Result>& expected) {
    EQUAL(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const auto& a = std::get<sacvit::Prediction>(actual[i]);
        const auto& b = std::get<sacvit::Prediction>(expected[i]);
        CHECK(a.stage == b.stage && a.index == b.index && a.targets == b.targets, a.source);
        for (std::size_t c = 0; c < a.probabilities.size(); ++c) {
            CHECK(std::fabs(a.probabilities[c] - b.probabilities[c]) < 1e-5f, a.source);
        }
    }
}

void test_answers(const std::string& bundle, const std::vector<sacvit::Source>& images) {
    for (const std::string precision : {"fp32", "fp16"}) {
        const sacvit::Model plain(bundle, with("onnxruntime", precision));
        const sacvit::Model plans(bundle, with("tensorrt", precision));
        EQUAL(plans.description(), "TensorRT 10.3.0, Stand-in");
        for (const double eta : {0.0, 0.6, 1.0}) {
            const auto expected = plain.predict_batch(images, {eta});
            same(plans.predict_batch(images, {eta}), expected);
            for (std::size_t i = 0; i < images.size(); ++i) {
                same({plans.predict(images[i], {eta})}, {expected[i]});
            }
        }
    }
    // More than the plans take at once: in parts of 7, 7 and 5.
    std::vector<sacvit::Source> many;
    while (many.size() < 19) {
        many.push_back(images[many.size() % images.size()]);
    }
    const auto expected = sacvit::Model(bundle, with("onnxruntime", "fp32")).predict_batch(many, {1.0});
    same(sacvit::Model(bundle, with("tensorrt", "fp32")).predict_batch(many, {1.0}), expected);
    EQUAL(sacvit::Model(bundle, with("tensorrt", "auto")).precision(), "fp16");
}

void test_threads(const std::string& bundle, const std::vector<sacvit::Source>& images) {
    const sacvit::Model plans(bundle, with("tensorrt", "fp32"));
    const auto expected = plans.predict_batch(images, {0.6});
    std::vector<std::vector<sacvit::Result>> actual(7);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 3; ++round) {
                actual[i] = i % 2 ? plans.predict_batch(images, {0.6})
                                  : std::vector<sacvit::Result>{plans.predict(images[0], {0.6})};
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (std::size_t i = 0; i < actual.size(); ++i) {
        same(actual[i], i % 2 ? expected : std::vector<sacvit::Result>{expected[0]});
    }
    // No more lanes than four for each engine, with a context for each of two profiles.
    CHECK(standin::contexts > 0 && standin::contexts <= 16, standin::contexts);
}

void test_failures(const std::string& bundle, const std::vector<sacvit::Source>& images) {
    REFUSES(bundle, "it has no int8 plans for tensorrt; build them with: sacvit build ",
            sacvit::Model(bundle + "/../ahead.sacvit", with("tensorrt", "int8")));
    REFUSES(backend, "unknown backend 'openvino'", sacvit::Model(bundle, with("openvino", "auto")));
    sacvit::Options both = with("tensorrt", "fp32");
    both.device = "cpu";
    REFUSES(usage, "tensorrt runs on the first GPU", sacvit::Model(bundle, both));
    standin::gpus = 0;
    REFUSES(backend, "there is no GPU 0 in this machine", sacvit::Model(bundle, with("tensorrt", "fp32")));
    standin::gpus = 1;

    const sacvit::Model plans(bundle, with("tensorrt", "fp32"));
    const auto expected = plans.predict_batch(images, {1.0});
    // These plans were built for the bundle's own alpha.
    REFUSES(backend, "sac.plan takes `background` of ", plans.predict(images[0], {1.0, 0.9}));
    standin::refuse_calls = 1;
    REFUSES(backend, "ee.plan in TensorRT 10.3.0: a call failed (no reason given)", plans.predict(images[0], {1.0}));
    standin::refuse_copies = 2;  // the second output of the first stage: the first one is under way
    REFUSES(backend, "cudaMemcpyAsync failed, invalid argument (cudaErrorInvalidValue)",
            plans.predict(images[0], {1.0}));
    {
        const sacvit::Model fresh(bundle, with("tensorrt", "fp32"));
        standin::out_of_memory = true;
        REFUSES(backend, "cudaMalloc failed, out of memory (cudaErrorMemoryAllocation); ask for smaller batches",
                fresh.predict(images[0], {1.0}));
        standin::out_of_memory = false;
        fresh.predict(images[0], {1.0});
    }
    same(plans.predict_batch(images, {1.0}), expected);  // nothing is left over from a failed call

    // The GPU that the program had selected is selected again after a call.
    check_cuda(cudaSetDevice(1), "cudaSetDevice");
    same(sacvit::Model(bundle, with("tensorrt", "fp32")).predict_batch(images, {1.0}), expected);
    int device = 0;
    check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    EQUAL(device, 1);
    check_cuda(cudaSetDevice(0), "cudaSetDevice");

    auto library = std::make_shared<TrtLibrary>();
    library->title = "TensorRT";
    library->runtime.reset(nvinfer1::createInferRuntime(logger()));
    const HeldFile broken{"folder/broken.plan", "broken.plan", std::make_shared<Pages>(5)};
    REFUSES(backend, "TensorRT can't load folder/broken.plan: the plan names no engine", TrtEngine(library, broken));
}

// Plans are read when the bundle is opened: both stages are built from what was there then.
void test_held(const std::string& bundle, const std::vector<sacvit::Source>& images) {
    namespace fs = std::filesystem;
    const fs::path copy = fs::path(bundle).parent_path() / "held.sacvit";
    fs::remove_all(copy);
    fs::copy(bundle, copy, fs::copy_options::recursive);
    const auto expected = sacvit::Model(bundle, with("tensorrt", "fp32")).predict_batch(images, {1.0});
    sacvit::Model plans(copy.string(), with("tensorrt", "fp32"));
    plans.predict(images[0], {0.0});
    for (const auto& entry : fs::recursive_directory_iterator(copy / "plans")) {
        if (entry.is_regular_file()) {
            std::ofstream(entry.path()) << "{}";
        }
    }
    same(plans.predict_batch(images, {1.0}), expected);
    REFUSES(bundle, "plan.json", plans.reload());
    fs::remove_all(copy / "plans");
    REFUSES(bundle, "it has no fp32 plans", plans.reload());
    same(plans.predict_batch(images, {1.0}), expected);
    fs::copy(fs::path(bundle) / "plans", copy / "plans", fs::copy_options::recursive);
    plans.reload();
    fs::remove_all(copy);
    same(plans.predict_batch(images, {1.0}), expected);
}

}  // namespace

int main(int, char** argv) {
    std::ifstream file(argv[1]);
    const json cases = json::parse(file);
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
        paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    const std::vector<sacvit::Source> images(paths.begin(), paths.begin() + 8);  // the most that these plans take
    const std::string bundle = cases[0]["bundle"];
    test_find_plans(cases);
    test_profiles();
    test_answers(bundle, images);
    test_threads(bundle, images);
    test_failures(bundle, images);
    test_held(bundle, images);
    EQUAL(standin::contexts.load(), 0);
    EQUAL(standin::device_blocks.load(), 0l);
    EQUAL(standin::off_device.load(), 0);
    return check::result();
}
