// The ways of ONNX Runtime's CUDA provider, run on the CPU: engines laid out for a GPU, their confidence, tensors that
// stay in the provider's memory. It says nothing about a GPU. argv: BUNDLE IMAGES COUNT.
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>

#include "device_answers.hpp"
#include "scheduler.hpp"

using namespace sacvit::detail;

namespace {

sacvit::Options options(const std::string& precision) {
    sacvit::Options out;
    out.device = "cpu";
    out.precision = precision;
    out.threads = 1;
    return out;
}

std::unique_ptr<Backend> backend() { return open_ort_backend(options("auto"), 1, true); }

// Which file stands for an engine.
void test_files(const std::string& path) {
    const Bundle bundle = open_bundle(path);
    const auto engine = [&](const std::string& precision, bool for_gpu) {
        return bundle.hold(precision, {"ee"}, for_gpu).at("ee").name;
    };
    EQUAL(engine("fp16", true), "ee-gpu.fp16.onnx");
    EQUAL(engine("fp16", false), "ee.fp16.onnx");
    EQUAL(engine("fp32", true), "ee.fp32.onnx");
    const HeldFiles held = backend()->hold(bundle, "fp16");
    EQUAL(held.size(), 5u);
    EQUAL(held.at("sac").name, "sac-gpu.fp16.onnx");
    EQUAL(held.at("gather").name, "gather.fp16.onnx");
    EQUAL(open_ort_backend(options("auto"), 1)->hold(bundle, "fp16").at("sac").name, "sac.fp16.onnx");
}

// All answers in batches of five, by the scheduler.
std::vector<Answer> scheduled(const Cascade& cascade, const std::vector<std::string>& paths, double eta) {
    constexpr std::size_t batch = 5;
    const Config& config = cascade.config();
    const auto count = static_cast<std::size_t>(config.num_targets());
    Scheduler scheduler(make_stages(cascade, count, batch), config.geometry, eta, batch, 8 * batch);
    std::vector<Answer> out;
    const auto drain = [&] {
        while (std::optional<Answer> answer = scheduler.next()) {
            out.push_back(std::move(*answer));
        }
    };
    for (std::size_t at = 0; at < paths.size(); at += batch) {
        std::vector<Item> items;
        for (std::size_t i = at; i < std::min(at + batch, paths.size()); ++i) {
            items.push_back(prepare(paths[i], config, limits(0, 0)));
        }
        scheduler.take(std::move(items));
        drain();
    }
    scheduler.finish();
    drain();
    return out;
}

void test_answers(const std::string& bundle, const std::string& precision, const std::vector<std::string>& paths,
                  float tolerance) {
    constexpr double eta = 0.6;
    const auto expected = answers(sacvit::Model(bundle, options(precision)), paths, eta, 5);
    const auto actual = scheduled(cascade_on(backend(), bundle, precision), paths, eta);
    EQUAL(actual.size(), expected.size());
    std::map<int, int> stages;
    for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
        const std::string& name = expected[i].source;
        CHECK(!actual[i].item.error, name);
        EQUAL(actual[i].item.source, name);
        EQUAL(actual[i].stage, expected[i].stage, name);
        CHECK(actual[i].targets == expected[i].targets, name, " has other targets");
        CHECK(std::fabs(actual[i].stage_one_probability - expected[i].stage_one_probability) < tolerance, name);
        for (std::size_t c = 0; c < expected[i].probabilities.size(); ++c) {
            CHECK(std::fabs(actual[i].probabilities[c] - expected[i].probabilities[c]) < tolerance, name);
        }
        ++stages[actual[i].stage];
    }
    CHECK(stages[1] > 0 && stages[2] > 1, stages[1], " exit, ", stages[2], " continue");
}

// The engine's own confidence is what an answer has where eta is far.
void test_confidence(const std::string& bundle, const std::vector<std::string>& paths) {
    const Cascade cascade = cascade_on(backend(), bundle, "fp16");
    const Pixels pixels = prepare(paths[0], cascade.config(), limits(0, 0)).pixels;
    const auto stages = make_stages(cascade, 1, 1);
    Clock clock(1);
    const StageAnswers given = stages->stage_one({&pixels}, clock);
    const auto classes = static_cast<std::size_t>(cascade.config().geometry.classes);
    EQUAL(given.confidence.size(), 2u);
    const double exact = classify({given.logits, {}}, classes, 1)[0];
    CHECK(std::fabs(given.confidence[0] - exact) < kNear, given.confidence[0], " ", exact);
    EQUAL(classify(given, classes, exact)[0], exact);
    EQUAL(classify(given, classes, exact - 2 * kNear)[0], double{given.confidence[0]});
    EQUAL(scheduled(cascade, {paths[0]}, exact)[0].stage, 2);
    EQUAL(scheduled(cascade, {paths[0]}, exact - 1e-9)[0].stage, 1);
}

// Two threads on the same engines, batch by batch.
void test_sharing(const std::string& bundle, const std::vector<std::string>& paths) {
    const std::vector<std::string> few(paths.begin(), paths.begin() + 3);
    const Cascade cascade = cascade_on(backend(), bundle, "fp16");
    const auto expected = scheduled(cascade, few, 1);
    std::vector<Answer> side;
    std::thread other([&] { side = scheduled(cascade, few, 1); });
    const auto here = scheduled(cascade, few, 1);
    other.join();
    for (const auto& actual : {std::cref(here), std::cref<std::vector<Answer>>(side)}) {
        EQUAL(actual.get().size(), few.size());
        for (std::size_t i = 0; i < std::min(actual.get().size(), few.size()); ++i) {
            EQUAL(actual.get()[i].stage, 2);
            CHECK(actual.get()[i].probabilities == expected[i].probabilities, few[i]);
            CHECK(actual.get()[i].targets == expected[i].targets, few[i]);
        }
    }
}

}  // namespace

int main(int, char** argv) {
    const auto paths = images_in(argv[2], std::strtoul(argv[3], nullptr, 10));
    test_files(argv[1]);
    test_answers(argv[1], "fp32", paths, 1e-5f);
    test_answers(argv[1], "fp16", paths, 2e-2f);
    test_traffic(cascade_on(backend(), argv[1], "fp32"), paths, false);
    test_traffic(cascade_on(backend(), argv[1], "fp16"), paths, true);
    test_confidence(argv[1], paths);
    test_sharing(argv[1], paths);
    return check::result();
}
