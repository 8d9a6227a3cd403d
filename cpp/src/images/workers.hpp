// A few threads that work through tasks in their order.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sacvit::detail {

class Workers {
public:
    // Up to `most` threads, begun as there are tasks for them.
    explicit Workers(std::size_t most) : most_(most) {}
    // Waits for the tasks that have begun, and drops the others.
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // Lets a thread do the task, which throws nothing; where the system gives no thread at all, this one does it.
    // Called from one thread at a time.
    void submit(std::function<void()> task);

private:
    void work();

    std::size_t most_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> todo_;  // under the mutex
    std::size_t unfinished_ = 0;              // under the mutex: those that wait, and those that have begun
    bool stop_ = false;                       // under the mutex
    std::vector<std::thread> threads_;
};

}  // namespace sacvit::detail
