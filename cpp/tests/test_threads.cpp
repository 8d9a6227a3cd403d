// One model shared by threads, and a stream's order, bounds and early end. argv: BUNDLE IMAGES COUNT.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "check.hpp"
#include "sacvit/sacvit.hpp"

namespace {

std::vector<std::string> images_in(const char* folder, std::size_t count) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        out.push_back(entry.path().string());
    }
    std::sort(out.begin(), out.end());
    out.resize(std::min(out.size(), count));
    return out;
}

std::function<std::optional<sacvit::Source>()> source(std::vector<std::string> paths,
                                                      std::atomic<int>* taken = nullptr) {
    return [paths = std::move(paths), at = std::size_t{0}, taken]() mutable -> std::optional<sacvit::Source> {
        if (at == paths.size()) {
            return std::nullopt;
        }
        if (taken != nullptr) {
            ++*taken;
        }
        return paths[at++];
    };
}

const sacvit::Prediction& answer(const sacvit::Result& result) { return std::get<sacvit::Prediction>(result); }

void same(const sacvit::Prediction& actual, const sacvit::Prediction& expected) {
    EQUAL(actual.source, expected.source);
    EQUAL(actual.stage, expected.stage, expected.source);
    EQUAL(actual.index, expected.index, expected.source);
    CHECK(actual.targets == expected.targets, expected.source);
    for (std::size_t i = 0; i < actual.probabilities.size(); ++i) {
        CHECK(std::fabs(actual.probabilities[i] - expected.probabilities[i]) < 1e-5f, expected.source);
    }
}

// Stage 2 is opened by whichever thread comes first.
void test_shared_model(const std::string& bundle, const std::vector<std::string>& paths) {
    sacvit::Options options;
    options.threads = 1;
    options.precision = "fp32";
    std::vector<sacvit::Prediction> expected;
    {
        const sacvit::Model alone(bundle, options);
        for (const std::string& path : paths) {
            expected.push_back(alone.predict(path, {0.6}));
        }
    }
    const sacvit::Model model(bundle, options);
    std::vector<std::vector<sacvit::Result>> actual(6);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < actual.size(); ++t) {
        threads.emplace_back([&, t] {
            const sacvit::Model copy = model;
            if (t % 3 == 0) {
                for (const std::string& path : paths) {
                    actual[t].push_back(copy.predict(path, {0.6}));
                }
            } else if (t % 3 == 1) {
                actual[t] = copy.predict_batch({paths.begin(), paths.end()}, {0.6});
            } else {
                sacvit::Stream stream = copy.stream(source(paths), {2, 2}, {0.6});
                while (auto result = stream.next()) {
                    actual[t].push_back(std::move(*result));
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const auto& results : actual) {
        EQUAL(results.size(), expected.size());
        for (std::size_t i = 0; i < results.size(); ++i) {
            same(answer(results[i]), expected[i]);
        }
    }
}

void test_streams(const sacvit::Model& model, const std::vector<std::string>& paths) {
    const auto count = static_cast<int>(paths.size());
    for (const int batch : {1, 2, count, 3 * count}) {
        for (const double eta : {0.0, 0.6, 1.0}) {  // everybody exits, some do, nobody does
            sacvit::Stream stream = model.stream(source(paths), {batch, 3}, {eta});
            for (const std::string& path : paths) {
                const auto result = stream.next();
                CHECK(result.has_value());
                EQUAL(answer(*result).source, path);
                CHECK(eta == 0.6 || answer(*result).stage == (eta == 0.0 ? 1 : 2));
            }
            CHECK(!stream.next());
        }
    }
    CHECK(!model.stream([]() -> std::optional<sacvit::Source> { return std::nullopt; }).next());
    EQUAL(model.predict_batch({}).size(), 0u);

    // Memory is bounded: no more images are taken than two batches ahead of the one at work.
    std::atomic<int> taken{0};
    std::vector<std::string> many;
    for (int i = 0; i < 20; ++i) {
        many.insert(many.end(), paths.begin(), paths.end());
    }
    {
        sacvit::Stream stream = model.stream(source(many, &taken), {2, 2}, {0.0});
        CHECK(stream.next().has_value());
        CHECK(taken <= 2 + 2 * 2, taken.load());
    }  // ended early, with images under way

    sacvit::Stream moved = model.stream(source(paths), {2, 2});
    sacvit::Stream stream = std::move(moved);
    moved = model.stream(source(paths), {1, 1});
    EQUAL(answer(*stream.next()).source, answer(*moved.next()).source);

    sacvit::Stream failing = model.stream([]() -> std::optional<sacvit::Source> { throw std::runtime_error("mine"); });
    try {
        failing.next();
        CHECK(false, "the source's exception was lost");
    } catch (const std::runtime_error& error) {
        EQUAL(std::string(error.what()), "mine");
    }
    // The answers before it come first, with one worker or several, whatever part of a batch they are.
    for (const int workers : {1, 3}) {
        std::size_t at = 0;
        sacvit::Stream later = model.stream(
            [&]() -> std::optional<sacvit::Source> {
                return at < 3 ? sacvit::Source(paths[at++ % paths.size()]) : throw std::runtime_error("mine");
            },
            {2, workers});
        for (int i = 0; i < 3; ++i) {
            EQUAL(answer(*later.next()).source, paths[static_cast<std::size_t>(i) % paths.size()]);
        }
        try {
            later.next();
            CHECK(false, "the source's exception was lost");
        } catch (const std::runtime_error& error) {
            EQUAL(std::string(error.what()), "mine");
        }
        CHECK(!later.next());
    }
    REFUSES(usage, "batch_size must be at least 1", model.stream(source(paths), {-1, 1}));
    REFUSES(usage, "eta is 1.5", model.predict(paths[0], {1.5}));
    REFUSES(usage, "alpha is 0;", model.predict(paths[0], {std::nullopt, 0.0}));
    REFUSES(image, "none.jpg does not exist", model.predict("none.jpg"));
}

// A file's bytes and its pixels give the answer of its path.
void test_sources(const sacvit::Model& model, const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string raw((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    sacvit::Prediction actual = model.predict(sacvit::Bytes{raw.data(), raw.size()}, {1.0});
    EQUAL(actual.source, "<bytes>");
    actual.source = path;
    same(actual, model.predict(path, {1.0}));
    REFUSES(image, "the image's bytes is empty", model.predict(sacvit::Bytes{raw.data(), 0}));
    REFUSES(image, "the image's bytes is damaged or truncated", model.predict(sacvit::Bytes{raw.data(), 700}));
    const auto results = model.predict_batch({path, sacvit::Bytes{raw.data(), 700}, path, "none.jpg"}, {1.0});
    CHECK(results[0].index() == 0 && results[1].index() == 1 && results[2].index() == 0 && results[3].index() == 1);
    EQUAL(std::get<sacvit::Error>(results[3]).code() == sacvit::ErrorCode::image, true);
    // A source of nothing is one error among answers.
    const auto others = model.predict_batch({path, sacvit::Bytes{nullptr, 7}, path, sacvit::ImageView{}, ""}, {1.0});
    CHECK(others[0].index() == 0 && others[1].index() == 1 && others[2].index() == 0);
    CHECK(others[3].index() == 1 && others[4].index() == 1);
}

// Threads that share one account of memory take turns, whatever each of them needs.
void test_memory(const std::string& bundle, const std::vector<std::string>& paths) {
    sacvit::Options options;
    options.threads = 1;
    options.precision = "fp32";
    options.max_memory = 90;  // a PNG is reckoned with 64 MB and more, so one at a time
    const sacvit::Model model(bundle, options);
    std::vector<std::string> many;
    for (int i = 0; i < 4; ++i) {
        many.insert(many.end(), paths.begin(), paths.end());
    }
    sacvit::Stream stream = model.stream(source(many), {4, 4}, {0.0});
    for (const std::string& path : many) {
        EQUAL(answer(*stream.next()).source, path);
    }
    CHECK(!stream.next());
}

}  // namespace

int main(int, char** argv) {
    const std::vector<std::string> paths = images_in(argv[2], std::stoul(argv[3]));
    test_shared_model(argv[1], paths);
    sacvit::Options options;
    options.threads = 1;
    options.precision = "fp32";
    const sacvit::Model model(argv[1], options);
    test_streams(model, paths);
    test_sources(model, paths[1]);
    test_memory(argv[1], paths);
    return check::result();
}
