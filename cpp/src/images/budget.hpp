// What one image may have, and the memory that all images being decoded take together. As
// sacvit_deploy/images/budget.py and memory.py.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace sacvit::detail {

constexpr std::size_t kMB = std::size_t{1} << 20;

// `total` bytes for all images together, `each` for one of them.
class Budget {
public:
    Budget(std::size_t total, std::size_t each);

    std::size_t each() const { return each_; }
    // Waits until `size` bytes, up to `each`, are free. Images wait in the order in which they came, so that a large
    // one gets its turn.
    void take(std::size_t size);
    void give_back(std::size_t size) noexcept;

private:
    std::size_t total_, each_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t used_ = 0;                      // under the mutex
    std::uint64_t arrived_ = 0, admitted_ = 0;  // tickets, under the mutex
};

// The bytes for all images together, where so many are free: four large images, or half of what is free where that is
// less. Nothing: that is not known.
std::size_t default_total(std::optional<std::size_t> free);

struct Limits {
    std::int64_t pixels;  // checked against the header
    std::shared_ptr<Budget> memory;
};

// The limits for an option's values, 0 for the default. max_memory: MB, for all images together; the default is one
// account of the process, one that is asked for is its caller's own, and a single image may take all of it. Throws
// Error (usage).
Limits limits(int max_pixels = 0, int max_memory = 0);

// One image's part of the budget, given back by the destructor. Not for several threads.
class Share {
public:
    explicit Share(const Limits& limits) : limits_(limits) {}
    ~Share() { limits_.memory->give_back(held_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    const Limits& limits() const { return limits_; }
    std::size_t held() const { return held_; }  // bytes
    // Takes all that one image may have: for files so large that reading them counts.
    void take_all();
    // Takes `need` bytes for an image of that size, or keeps that much of what is held. Throws Error (image) where it
    // is more than one image may take.
    void take(std::size_t need, std::int64_t width, std::int64_t height, const std::string& name);

private:
    const Limits& limits_;
    std::size_t held_ = 0;
};

// What Python keeps of an image with `each` bytes for a pixel, in bytes: lines of whole words, and a pointer to each.
std::size_t stored(std::size_t width, std::size_t height, std::size_t each);

// What turning, converting and resizing an image takes beside its pixels, and its file, in bytes.
std::size_t beside_pixels(std::int64_t width, std::int64_t height, std::size_t file);

}  // namespace sacvit::detail
