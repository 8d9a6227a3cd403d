#include "images/prefetch.hpp"

#include <algorithm>
#include <utility>

namespace sacvit::detail {

Prefetch::Prefetch(Next next, Prepare prepare, std::size_t depth, std::size_t workers)
    : next_(std::move(next)),
      prepare_(std::move(prepare)),
      depth_(std::max<std::size_t>(depth, 1)),
      workers_(workers) {}

Prefetch::~Prefetch() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

std::optional<Item> Prefetch::next() {
    while (!ended_ && order_.size() < (workers_ <= 1 ? 1 : depth_)) {
        std::optional<Source> source = next_();
        if (!source) {
            ended_ = true;
            break;
        }
        if (workers_ <= 1) {
            return prepare_(*source);
        }
        std::packaged_task<Item()> task([this, source = std::move(*source)] { return prepare_(source); });
        order_.push_back(task.get_future());
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            todo_.push_back(std::move(task));
        }
        changed_.notify_one();
        if (threads_.size() < std::min(workers_, order_.size())) {
            threads_.emplace_back([this] { work(); });
        }
    }
    if (order_.empty()) {
        return std::nullopt;
    }
    std::future<Item> item = std::move(order_.front());
    order_.pop_front();
    return item.get();
}

void Prefetch::work() {
    for (;;) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || !todo_.empty(); });
        if (stop_) {
            return;
        }
        std::packaged_task<Item()> task = std::move(todo_.front());
        todo_.pop_front();
        lock.unlock();
        task();  // an exception goes to the caller of next()
    }
}

}  // namespace sacvit::detail
