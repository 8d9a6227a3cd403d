// Streams of sources that set their own pace. argv: BUNDLE IMAGES.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "check.hpp"
#include "sacvit/sacvit.hpp"

namespace {

using sacvit::Keep;
using sacvit::Source;
using sacvit::StreamOptions;

constexpr std::chrono::seconds kLimit{60};  // for what takes milliseconds

// What threads wait for.
class Event {
public:
    void set() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            set_ = true;
        }
        changed_.notify_all();
    }
    // False: it never came.
    bool wait() {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, kLimit, [&] { return set_; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool set_ = false;
};

// Gives images as it is told to: it waits for `go_on` before those behind the `first`.
struct Camera {
    Camera(std::vector<std::string> images_, std::size_t first_) : images(std::move(images_)), first(first_) {}

    std::optional<Source> next() {
        if (at == first && !go_on.wait()) {
            timed_out = true;
        }
        if (at == images.size()) {
            ended.set();
            return std::nullopt;
        }
        return images[at++];
    }
    std::function<std::optional<Source>()> source() {
        return [this] { return next(); };
    }

    std::vector<std::string> images;
    std::size_t first, at = 0;
    Event go_on, ended;
    bool timed_out = false;
};

const sacvit::Prediction& answer(const std::optional<sacvit::Result>& result) {
    return std::get<sacvit::Prediction>(result.value());
}

std::vector<StreamOptions> ways() {
    return {{0, 2, 0.0}, {0, 1, 5.0}, {0, 2, {}, Keep::latest}, {3, 2, 0.1, Keep::latest}};
}

void test_an_answer_comes_without_further_images(const sacvit::Model& model, const std::vector<std::string>& paths) {
    for (const StreamOptions& options : ways()) {
        for (const double eta : {0.0, 1.0}) {
            Camera camera({paths[0], paths[1]}, 1);
            sacvit::Stream stream = model.stream(camera.source(), options, {eta});
            const auto first = stream.next();
            EQUAL(answer(first).source, paths[0]);
            EQUAL(answer(first).stage, eta == 0 ? 1 : 2);
            EQUAL(stream.position(), 0u);
            camera.go_on.set();
            EQUAL(answer(stream.next()).source, paths[1]);
            EQUAL(stream.position(), 1u);
            CHECK(!stream.next() && !stream.next());
            CHECK(!camera.timed_out && stream.taken() == 2 && stream.dropped() == 0);
        }
    }
}

void test_answers_are_those_of_whole_batches(const sacvit::Model& model, std::vector<std::string> paths) {
    paths.insert(paths.begin() + 2, "none.jpg");
    const std::vector<sacvit::Result> expected = model.predict_batch({paths.begin(), paths.end()});
    for (const double max_delay : {0.0, 0.05, 1000.0}) {
        for (const int batch : {0, 1, 3}) {
            std::size_t at = 0;
            sacvit::Stream stream =
                model.stream([&]() { return at < paths.size() ? std::optional<Source>(paths[at++]) : std::nullopt; },
                             {batch, 2, max_delay});
            for (std::size_t i = 0; i < paths.size(); ++i) {
                const auto result = stream.next();
                EQUAL(stream.position(), i);
                EQUAL(result->index(), expected[i].index());
                if (i != 2) {
                    EQUAL(answer(result).index, std::get<sacvit::Prediction>(expected[i]).index);
                    EQUAL(answer(result).stage, std::get<sacvit::Prediction>(expected[i]).stage);
                }
            }
            CHECK(!stream.next());
        }
    }
}

void test_the_newest_is_kept(const sacvit::Model& model, const std::vector<std::string>& paths) {
    Camera camera(paths, 1);
    sacvit::Stream stream = model.stream(camera.source(), {0, 2, {}, Keep::latest});
    EQUAL(answer(stream.next()).source, paths[0]);
    camera.go_on.set();
    CHECK(camera.ended.wait());
    EQUAL(answer(stream.next()).source, paths.back());
    EQUAL(stream.position(), paths.size() - 1);
    EQUAL(stream.taken(), paths.size());
    EQUAL(stream.dropped(), paths.size() - 2);
    CHECK(!stream.next());
}

// A source may use its buffer again as soon as it is asked for the next image.
void test_buffers_are_copied(const sacvit::Model& model) {
    std::vector<std::uint8_t> buffer(64 * 48 * 3 / 2);
    for (const auto format : {sacvit::PixelFormat::gray, sacvit::PixelFormat::nv12}) {
        const sacvit::ImageView view{buffer.data(), 64, 48, 64, format};
        const auto fill = [&](std::size_t number) {
            for (std::size_t i = 0; i < buffer.size(); ++i) {
                buffer[i] = static_cast<std::uint8_t>(i * (number + 3) >> 3);
            }
        };
        std::vector<int> expected;
        for (std::size_t number = 0; number < 5; ++number) {
            fill(number);
            expected.push_back(model.predict(view, {1.0}).index);
        }
        std::size_t at = 0;
        sacvit::Stream stream = model.stream(
            [&]() -> std::optional<Source> {
                fill(at);
                return at++ < 5 ? std::optional<Source>(view) : std::nullopt;
            },
            {0, 2, 0.0}, {1.0});
        for (const int index : expected) {
            EQUAL(answer(stream.next()).index, index);
        }
        CHECK(!stream.next());
    }
}

void test_a_sources_exception_comes_behind_its_images(const sacvit::Model& model, const std::string& path) {
    for (const StreamOptions& options : ways()) {
        bool given = false;
        sacvit::Stream stream = model.stream(
            [&]() -> std::optional<Source> {
                return std::exchange(given, true) ? throw std::runtime_error("mine") : Source(path);
            },
            options);
        EQUAL(answer(stream.next()).source, path);
        try {
            stream.next();
            CHECK(false, "the source's exception was lost");
        } catch (const std::runtime_error& error) {
            EQUAL(std::string(error.what()), "mine");
        }
        CHECK(!stream.next());
    }
}

// With a reader that waits for room, one that waits for the source, and before anything was asked for.
void test_streams_end_early(const sacvit::Model& model, const std::string& path) {
    std::size_t taken = 0;
    {
        sacvit::Stream held_back = model.stream(
            [&]() -> std::optional<Source> {
                ++taken;
                return path;
            },
            {2, 2, 0.0});
        CHECK(held_back.next().has_value());
    }
    CHECK(taken >= 1 && taken < 100, taken);
    for (const bool asked : {false, true}) {
        Camera camera({path, path, path}, 1);
        std::thread later;
        {
            sacvit::Stream stream = model.stream(camera.source(), {0, 2, 0.0});
            if (asked) {
                CHECK(stream.next().has_value());
            }
            later = std::thread([&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(30));
                camera.go_on.set();
            });
        }  // waits for the camera's call at hand, and takes no other
        CHECK(camera.at <= 2 && !camera.timed_out, camera.at);
        later.join();
    }
}

// A paced source, which ends some time after the first answer: that comes long before a batch is full.
void test_delays(const sacvit::Model& model, const std::vector<std::string>& paths) {
    constexpr std::size_t kBatch = 1000, kMore = 20;
    using Clock = std::chrono::steady_clock;
    std::mutex mutex;
    std::vector<Clock::time_point> given;  // under the mutex
    std::size_t end = kBatch;              // under the mutex
    sacvit::Stream stream = model.stream(
        [&]() -> std::optional<Source> {
            std::this_thread::sleep_for(std::chrono::milliseconds(25));
            const std::lock_guard<std::mutex> lock(mutex);
            if (given.size() == end) {
                return std::nullopt;
            }
            given.push_back(Clock::now());
            return paths[given.size() % paths.size()];
        },
        {kBatch, 2, 0.1});
    double worst = 0;
    std::size_t answers = 0;
    for (; stream.next(); ++answers) {
        const auto now = Clock::now();
        const std::lock_guard<std::mutex> lock(mutex);
        end = std::min(end, given.size() + kMore);
        worst = std::max(worst, std::chrono::duration<double>(now - given[stream.position()]).count());
    }
    CHECK(end < kBatch, end);
    EQUAL(answers, end);
    std::printf("%zu frames, 25 ms apart: the latest answer came after %.0f ms\n", answers, 1000 * worst);
}

void test_refusals(const sacvit::Model& model) {
    const auto nothing = []() -> std::optional<Source> { return std::nullopt; };
    for (const double bad : {-0.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
        REFUSES(usage, "it must be a number of seconds, 0 or more", model.stream(nothing, {0, 1, bad}));
    }
    REFUSES(usage, "keep must be", model.stream(nothing, {0, 1, {}, static_cast<Keep>(2)}));
    CHECK(!model.stream(nothing, {0, 1, 0.0}).next());
}

}  // namespace

int main(int, char** argv) {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
        paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    paths.resize(std::min<std::size_t>(paths.size(), 8));
    sacvit::Options options;
    options.threads = 1;
    const sacvit::Model model(argv[1], options);
    test_an_answer_comes_without_further_images(model, paths);
    test_answers_are_those_of_whole_batches(model, paths);
    test_the_newest_is_kept(model, paths);
    test_buffers_are_copied(model);
    test_a_sources_exception_comes_behind_its_images(model, paths[0]);
    test_streams_end_early(model, paths[0]);
    test_delays(model, paths);
    test_refusals(model);
    return check::result();
}
