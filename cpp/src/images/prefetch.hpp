// Threads that prepare images ahead of the engines, in order.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
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

    // One worker means none: the caller's own thread prepares, without the start-up of another.
    Prefetch(Next next, Prepare prepare, std::size_t ahead, std::size_t workers);
    ~Prefetch();
    Prefetch(const Prefetch&) = delete;
    Prefetch& operator=(const Prefetch&) = delete;

    // The next image's item; nothing at the end. Called from one thread, as `next` is from inside it.
    std::optional<Item> next();

private:
    struct Task {
        explicit Task(Source source_) : source(std::move(source_)) {}
        Source source;
        std::optional<Item> item;
        std::exception_ptr error;
        bool done = false;
    };

    void work();

    Next next_;
    Prepare prepare_;
    std::size_t ahead_, workers_;
    bool ended_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Task>> order_;  // of the images; the caller's alone
    std::deque<std::shared_ptr<Task>> todo_;   // under the mutex, as are the tasks' results
    bool stop_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace sacvit::detail
