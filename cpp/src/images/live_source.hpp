// Images of a source that sets its own pace, such as a camera: read in a thread of its own, begun as soon as may be. As
// sacvit_deploy/images/live_source.py.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "images/prefetch.hpp"
#include "images/workers.hpp"

namespace sacvit::detail {

class LiveSource {
public:
    // Keep::all prepares images while they wait, and takes no more than `size` that are not handed over. Keep::latest
    // lets a new image push out the oldest of `size` that wait, and prepares those that are handed over.
    LiveSource(NextSource next, const Config& config, Limits limits, Keep keep, std::size_t size,
               std::chrono::duration<double> max_delay, std::size_t workers);
    // Waits for the source's call at hand, as it may refer to what goes next.
    ~LiveSource();
    LiveSource(const LiveSource&) = delete;
    LiveSource& operator=(const LiveSource&) = delete;

    // The images that are there, up to `size`, in order; nothing at the end. Without `wait` there may be none yet. What
    // the source throws is the end, and is thrown once, behind the images before it.
    std::optional<std::vector<Item>> next(bool wait);

    std::size_t taken() const;
    std::size_t dropped() const;

private:
    struct Waiting;
    using Images = std::deque<std::shared_ptr<Waiting>>;

    void read();
    bool put(std::shared_ptr<Waiting> image);
    void begin(const std::shared_ptr<Waiting>& image);
    Images there();
    bool too_many_bytes() const;

    NextSource next_;
    const Config& config_;
    Limits limits_;
    bool latest_;
    std::size_t size_;
    std::chrono::steady_clock::duration max_delay_;
    mutable std::mutex mutex_;         // guards what follows
    std::condition_variable changed_;  // one of them
    Images waiting_;
    std::size_t taken_ = 0, dropped_ = 0;
    bool ended_ = false, stop_ = false;
    std::exception_ptr failure_;  // of the source
    Workers workers_;
    std::thread reader_;
};

}  // namespace sacvit::detail
