#include "images/workers.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sacvit::detail {

Workers::~Workers() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

void Workers::submit(std::function<void()> task) {
    std::size_t unfinished;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        todo_.push_back(std::move(task));
        unfinished = ++unfinished_;
    }
    changed_.notify_one();
    if (threads_.size() >= std::min(most_, unfinished)) {
        return;
    }
    try {
        threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
        most_ = std::max<std::size_t>(threads_.size(), 1);  // those that there are do the work
        if (threads_.empty()) {
            const std::function<void()> own = std::move(todo_.front());
            todo_.pop_front();
            --unfinished_;
            own();
        }
    }
}

void Workers::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return stop_ || !todo_.empty(); });
        if (stop_) {
            return;
        }
        std::function<void()> task = std::move(todo_.front());
        todo_.pop_front();
        lock.unlock();
        task();
        task = nullptr;  // what it holds must not live until the next one
        lock.lock();
        --unfinished_;
    }
}

}  // namespace sacvit::detail
