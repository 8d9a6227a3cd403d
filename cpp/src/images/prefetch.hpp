// Threads that prepare images while the engines work, in order.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "images/item.hpp"

namespace sacvit::detail {

class Prefetch {
public:
    using Next = std::function<std::optional<Source>()>;
    using Prepare = std::function<Item(const Source&)>;

    // At most `depth` images are under way. One worker means none: the caller's own thread prepares, without the
    // start-up of another.
    Prefetch(Next next, Prepare prepare, std::size_t depth, std::size_t workers);
    ~Prefetch();
    Prefetch(const Prefetch&) = delete;
    Prefetch& operator=(const Prefetch&) = delete;

    // The next image's item; nothing at the end. Called from one thread, as `next` is from inside it. Throws what
    // `next` or `prepare` throws.
    std::optional<Item> next();

private:
    void work();

    Next next_;
    Prepare prepare_;
    std::size_t depth_, workers_;
    bool ended_ = false;
    std::deque<std::future<Item>> order_;  // of the images; the caller's alone
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::packaged_task<Item()>> todo_;  // under the mutex
    bool stop_ = false;                            // under the mutex
    std::vector<std::thread> threads_;
};

}  // namespace sacvit::detail
