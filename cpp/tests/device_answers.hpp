// What tests of devices have in common: answers that must be the CPU's, and the bytes that cross.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "backends/engine.hpp"
#include "bundle/bundle.hpp"
#include "cascade.hpp"
#include "check.hpp"
#include "images/budget.hpp"
#include "images/prefetch.hpp"
#include "sacvit/sacvit.hpp"
#include "stages/stages.hpp"

inline std::vector<std::string> images_in(const std::string& folder, std::size_t count) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        out.push_back(entry.path().string());
    }
    std::sort(out.begin(), out.end());
    out.resize(std::min(out.size(), count));
    return out;
}

// All answers in small batches, so that stage 2 joins images of several.
inline std::vector<sacvit::Prediction> answers(const sacvit::Model& model, const std::vector<std::string>& paths,
                                               double eta, int batch) {
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

inline void same(const std::vector<sacvit::Prediction>& actual, const std::vector<sacvit::Prediction>& expected) {
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

// A bundle's variant on a backend.
inline sacvit::detail::Cascade cascade_on(std::unique_ptr<sacvit::detail::Backend> backend, const std::string& path,
                                          const std::string& precision) {
    using namespace sacvit::detail;
    HeldFiles files;
    const Bundle bundle = open_bundle(path, [&](const Bundle& found) { files = backend->hold(found, precision); });
    return {std::move(backend), std::move(files), bundle.manifest.config};
}

// Both stages step by step, three images and then one more: every byte that crosses to the device or back.
// `confident`: the engines say how sure they are, in two numbers an image.
inline void test_traffic(const sacvit::detail::Cascade& cascade, const std::vector<std::string>& paths,
                         bool confident) {
    using namespace sacvit::detail;
    const Config& config = cascade.config();
    DeviceMemory* const memory = cascade.memory();
    CHECK(memory != nullptr, "tensors do not stay on the device");
    if (memory == nullptr) {
        return;
    }
    const auto count = static_cast<std::uint64_t>(config.num_targets());
    const auto tokens = static_cast<std::uint64_t>(config.geometry.tokens());
    const auto classes = static_cast<std::uint64_t>(config.geometry.classes);
    const std::uint64_t row = (classes + (confident ? 2 : 0)) * sizeof(float);
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
    const StageAnswers first = stages->stage_one({&pixels[0], &pixels[1], &pixels[2]}, clock);
    EQUAL(first.confidence.size(), confident ? 6u : 0u);
    crossed(3 * picture, 3 * row, "stage 1");
    stages->queue({0, 2}, clock);
    // Up go rows, slots and rest, down come targets.
    crossed((2 + tokens) * sizeof(std::int64_t), 2 * count * sizeof(std::int64_t), "two continue");
    stages->stage_one({&pixels[3]}, clock);
    crossed(picture, row, "stage 1 again");
    stages->queue({0}, clock);
    crossed((1 + tokens) * sizeof(std::int64_t), count * sizeof(std::int64_t), "one continues");
    const StageTwoAnswers answers = stages->stage_two(3, clock);
    crossed(0, 3 * row, "stage 2");
    EQUAL(answers.logits.size(), 3 * classes);
    EQUAL(answers.targets.size(), 3 * count);
}
