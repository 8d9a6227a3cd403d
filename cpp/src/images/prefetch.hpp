// Images on their way to the engines, prepared by threads while the engines work. As `Item` in
// sacvit_deploy/scheduler.py.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "config.hpp"
#include "images/budget.hpp"
#include "images/preprocess.hpp"
#include "images/workers.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Seconds between steps.
class Stopwatch {
public:
    // Seconds since the last call, or since it was made.
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// One image: its pixels, or the error it met.
struct Item {
    std::string source;
    Pixels pixels;
    std::optional<Error> error;
    Timing timing;
    std::optional<std::size_t> position;  // in the source; none where all of them come, which the scheduler counts
    // When it is not to wait for others any more.
    std::chrono::steady_clock::time_point due = std::chrono::steady_clock::time_point::max();
};

// Decodes and fits one image; whatever keeps it from that is the item's error.
Item prepare(const Source& source, const Config& config, const Limits& limits);

// The user's source of images.
using NextSource = std::function<std::optional<Source>()>;

// The items of any number of images, in their order.
class Prefetch {
public:
    // At most `depth` images are under way. One worker means none: the caller's own thread prepares, without the
    // start-up of another.
    Prefetch(NextSource next, const Config& config, Limits limits, std::size_t depth, std::size_t workers);
    Prefetch(const Prefetch&) = delete;
    Prefetch& operator=(const Prefetch&) = delete;

    // The next image's item; nothing at the end. Called from one thread, as `next` is from inside it. What `next`
    // throws is the end, and is thrown once, behind the items before it.
    std::optional<Item> next();

    std::size_t taken() const { return taken_; }

private:
    NextSource next_;
    const Config& config_;
    Limits limits_;
    std::size_t depth_;
    bool alone_;  // without workers
    bool ended_ = false;
    std::size_t taken_ = 0;
    std::exception_ptr failure_;           // of `next`
    std::deque<std::future<Item>> order_;  // of the images
    Workers workers_;
};

}  // namespace sacvit::detail
