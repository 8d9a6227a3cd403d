#include "images/live_source.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "images/frame.hpp"

namespace sacvit::detail {
namespace {

constexpr std::size_t kHeld = std::size_t{256} << 20;  // bytes of copies that wait to be prepared

}  // namespace

// An image that was taken: a copy of what its owner may use again, and what it becomes.
struct LiveSource::Waiting {
    std::size_t position;
    std::chrono::steady_clock::time_point taken_at;
    Source source;
    std::vector<std::uint8_t> copy;  // what `source` refers to; a worker's, once it has begun
    std::size_t bytes = 0;           // of the copy
    Item item;
    bool ready = false;  // under the mutex
};

LiveSource::LiveSource(NextSource next, const Config& config, Limits limits, Keep keep, std::size_t size,
                       std::chrono::duration<double> max_delay, std::size_t workers)
    : next_(std::move(next)),
      config_(config),
      limits_(std::move(limits)),
      latest_(keep == Keep::latest),
      size_(size),
      max_delay_(std::chrono::duration_cast<std::chrono::steady_clock::duration>(max_delay)),
      workers_(workers) {}

LiveSource::~LiveSource() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    if (reader_.joinable()) {
        reader_.join();
    }
}

std::optional<std::vector<Item>> LiveSource::next(bool wait) {
    if (!reader_.joinable()) {
        reader_ = std::thread([this] { read(); });
    }
    std::unique_lock<std::mutex> lock(mutex_);
    Images batch;
    changed_.wait(lock, [&] {
        batch = there();
        return !batch.empty() || (ended_ && waiting_.empty()) || !wait;
    });
    if (batch.empty() && ended_ && waiting_.empty()) {
        if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) {
            std::rethrow_exception(failure);
        }
        return std::nullopt;
    }
    if (latest_) {
        lock.unlock();
        std::for_each(batch.begin(), batch.end(), [&](const auto& image) { begin(image); });
        lock.lock();
        changed_.wait(lock, [&] {
            return std::all_of(batch.begin(), batch.end(), [](const auto& image) { return image->ready; });
        });
    }
    changed_.notify_all();  // there is room
    std::vector<Item> items;
    for (const auto& image : batch) {
        image->item.position = image->position;
        image->item.due = image->taken_at + max_delay_;
        items.push_back(std::move(image->item));
    }
    return items;
}

std::size_t LiveSource::taken() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return taken_;
}

std::size_t LiveSource::dropped() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return dropped_;
}

// Takes those that may be handed over out of those that wait.
LiveSource::Images LiveSource::there() {
    Images batch;
    while (!waiting_.empty() && batch.size() < size_ && (latest_ || waiting_.front()->ready)) {
        batch.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
    return batch;
}

// Takes image after image; runs in the thread of its own.
void LiveSource::read() {
    std::exception_ptr failure;
    try {
        for (std::size_t position = 0;; ++position) {
            std::optional<Source> source = next_();
            if (!source) {
                break;
            }
            const auto now = std::chrono::steady_clock::now();
            auto image = std::make_shared<Waiting>(Waiting{position, now, std::move(*source), {}, 0, {}, false});
            try {
                image->copy = own(image->source, limits_.pixels);
                image->bytes = image->copy.size();
            } catch (const Error& error) {
                image->item.error = error;
            } catch (const std::bad_alloc&) {
                image->item.error = Error(ErrorCode::image, "not enough memory to keep the image until its turn");
            }
            if (!put(std::move(image))) {
                break;
            }
        }
    } catch (...) {
        failure = std::current_exception();
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ended_ = true;
        failure_ = failure;
    }
    changed_.notify_all();
}

// Lets an image wait, and returns when there is room for the next; false if there is no use for it.
bool LiveSource::put(std::shared_ptr<Waiting> image) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (stop_) {
        return false;
    }
    ++taken_;
    waiting_.push_back(image);
    if (latest_) {
        while (waiting_.size() > size_ || too_many_bytes()) {
            waiting_.pop_front();
            ++dropped_;
        }
        changed_.notify_all();
        return true;
    }
    lock.unlock();
    begin(image);
    image.reset();
    lock.lock();
    changed_.wait(lock, [&] { return stop_ || !(waiting_.size() >= size_ || too_many_bytes()); });
    return !stop_;
}

// Lets a worker prepare an image.
void LiveSource::begin(const std::shared_ptr<Waiting>& image) {
    workers_.submit([this, image] {
        if (!image->item.error) {
            image->item = prepare(image->source, config_, limits_);
            image->copy = {};
        }
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            image->ready = true;
        }
        changed_.notify_all();
    });
}

bool LiveSource::too_many_bytes() const {
    std::size_t count = 0, bytes = 0;
    for (const auto& image : waiting_) {
        if (!image->ready) {
            ++count;
            bytes += image->bytes;
        }
    }
    return count > 1 && bytes > kHeld;
}

}  // namespace sacvit::detail
