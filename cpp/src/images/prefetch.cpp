#include "images/prefetch.hpp"

#include <algorithm>
#include <utility>

#include "images/decode.hpp"

namespace sacvit::detail {
namespace {

std::string name_of(const Source& source) {
    if (const auto* path = std::get_if<std::string>(&source)) {
        return *path;
    }
    return std::holds_alternative<Bytes>(source) ? "<bytes>" : "<pixels>";
}

Image decode(const Source& source) {
    if (const auto* bytes = std::get_if<Bytes>(&source)) {
        return decode_bytes({static_cast<const char*>(bytes->data), bytes->size}, "the image's bytes");
    }
    return decode_file(std::get<std::string>(source));
}

}  // namespace

Item prepare(const Source& source, const Config& config) {
    Item item;
    item.source = name_of(source);
    try {
        Stopwatch watch;
        const auto* const pixels = std::get_if<ImageView>(&source);
        const Image image = pixels ? Image() : decode(source);
        item.timing.decode = watch.lap();
        item.pixels = fit(pixels ? *pixels : image.view(), static_cast<int>(config.geometry.image_size),
                          config.preprocessing, pixels ? "the image" : item.source);
        item.timing.preprocess = watch.lap();
    } catch (const Error& error) {
        item.error = error;
    }
    return item;
}

Prefetch::Prefetch(Next next, const Config& config, std::size_t depth, std::size_t workers)
    : next_(std::move(next)), config_(config), depth_(depth), workers_(workers) {}

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
            return prepare(*source, config_);
        }
        std::packaged_task<Item()> task([this, source = std::move(*source)] { return prepare(source, config_); });
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
