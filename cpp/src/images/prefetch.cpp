#include "images/prefetch.hpp"

#include <algorithm>
#include <utility>

namespace sacvit::detail {

Prefetch::Prefetch(Next next, Prepare prepare, std::size_t ahead, std::size_t workers)
    : next_(std::move(next)), prepare_(std::move(prepare)), ahead_(ahead), workers_(workers) {}

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
    if (workers_ <= 1) {
        const std::optional<Source> source = ended_ ? std::nullopt : next_();
        ended_ = !source;
        return source ? std::optional<Item>(prepare_(*source)) : std::nullopt;
    }
    while (!ended_ && order_.size() < std::max<std::size_t>(ahead_, 1)) {
        std::optional<Source> source = next_();
        if (!source) {
            ended_ = true;
            break;
        }
        order_.push_back(std::make_shared<Task>(std::move(*source)));
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            todo_.push_back(order_.back());
        }
        changed_.notify_all();
        if (threads_.size() < std::min(workers_, order_.size())) {
            threads_.emplace_back([this] { work(); });
        }
    }
    if (order_.empty()) {
        return std::nullopt;
    }
    const std::shared_ptr<Task> task = std::move(order_.front());
    order_.pop_front();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return task->done; });
    if (task->error) {
        std::rethrow_exception(task->error);
    }
    return std::move(task->item);
}

void Prefetch::work() {
    for (;;) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || !todo_.empty(); });
        if (stop_) {
            return;
        }
        const std::shared_ptr<Task> task = std::move(todo_.front());
        todo_.pop_front();
        lock.unlock();
        std::optional<Item> item;
        std::exception_ptr error;
        try {
            item = prepare_(task->source);
        } catch (...) {  // no memory, say: the caller's thread shall hear of it
            error = std::current_exception();
        }
        lock.lock();
        task->item = std::move(item);
        task->error = error;
        task->done = true;
        lock.unlock();
        changed_.notify_all();
    }
}

}  // namespace sacvit::detail
