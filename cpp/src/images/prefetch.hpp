// Images on their way to the engines, prepared by threads while the engines work. As `Item` in
// sacvit_deploy/scheduler.py.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "config.hpp"
#include "images/budget.hpp"
#include "images/preprocess.hpp"
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
};

// Decodes and fits one image; whatever keeps it from that is the item's error.
Item prepare(const Source& source, const Config& config, const Limits& limits);

// The items of any number of images, in their order.
class Prefetch {
public:
    using Next = std::function<std::optional<Source>()>;

    // At most `depth` images are under way. One worker means none: the caller's own thread prepares, without the
    // start-up of another.
    Prefetch(Next next, const Config& config, Limits limits, std::size_t depth, std::size_t workers);
    ~Prefetch();
    Prefetch(const Prefetch&) = delete;
    Prefetch& operator=(const Prefetch&) = delete;

    // The next image's item; nothing at the end. Called from one thread, as `next` is from inside it. What `next`
    // throws is the end, and is thrown once, behind the items before it.
    std::optional<Item> next();

private:
    void add_thread();
    void work();

    Next next_;
    const Config& config_;
    Limits limits_;
    std::size_t depth_, workers_;
    bool ended_ = false;
    std::exception_ptr failure_;           // of `next`
    std::deque<std::future<Item>> order_;  // of the images; the caller's alone
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::packaged_task<Item()>> todo_;  // under the mutex
    bool stop_ = false;                            // under the mutex
    std::vector<std::thread> threads_;
};

}  // namespace sacvit::detail
