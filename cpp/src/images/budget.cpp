#include "images/budget.hpp"

#include <algorithm>

#include "images/free_memory.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr std::int64_t kMaxPixels = 110'000'000;  // phones' 108-megapixel photographs are up to 12032x9024
constexpr std::size_t kEach = 600 * kMB;
constexpr std::size_t kImages = 4;         // as large as that, at a time
constexpr std::size_t kLeast = 256 * kMB;  // ordinary photographs are answered however little memory there seems to be

const std::shared_ptr<Budget>& default_budget() {
    // Never freed: a thread may end after the library's statics.
    static const auto& budget =
        *new std::shared_ptr<Budget>(std::make_shared<Budget>(default_total(free_memory()), kEach));
    return budget;
}

void check(const char* name, int value) {
    if (value < 0) {
        fail(ErrorCode::usage, name, " is ", value, "; it must be at least 1, or 0 for the default");
    }
}

}  // namespace

std::size_t default_total(std::optional<std::size_t> free) {
    return free ? std::clamp(*free / 2, kLeast, kImages * kEach) : kImages * kEach;
}

Budget::Budget(std::size_t total, std::size_t each) : total_(total), each_(std::min(each, total)) {}

void Budget::take(std::size_t size) {
    std::unique_lock<std::mutex> lock(mutex_);
    const std::uint64_t ticket = arrived_++;
    changed_.wait(lock, [&] { return admitted_ == ticket && used_ + size <= total_; });
    used_ += size;
    ++admitted_;
    changed_.notify_all();
}

void Budget::give_back(std::size_t size) noexcept {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        used_ -= size;
    }
    changed_.notify_all();
}

Limits limits(int max_pixels, int max_memory) {
    check("max_pixels", max_pixels);
    check("max_memory", max_memory);
    const std::size_t own = static_cast<std::size_t>(max_memory) * kMB;
    return {max_pixels == 0 ? kMaxPixels : max_pixels,
            max_memory == 0 ? default_budget() : std::make_shared<Budget>(own, own)};
}

void Share::take_all() {
    limits_.memory->take(limits_.memory->each());
    held_ = limits_.memory->each();
}

void Share::take(std::size_t need, std::int64_t width, std::int64_t height, const std::string& name) {
    const std::size_t each = limits_.memory->each();
    if (need > each) {
        fail(ErrorCode::image, name, " has ", width, "x", height, " pixels and would take about ", need / kMB,
             " MB to decode, over the limit of ", each / kMB,
             " MB for one image; --max-memory (Options::max_memory) raises it");
    }
    if (held_ == 0) {
        limits_.memory->take(need);
    } else {  // all that one image may have: two that held a part and waited for more would wait for ever
        limits_.memory->give_back(held_ - need);
    }
    held_ = need;
}

std::size_t stored(std::size_t width, std::size_t height, std::size_t each) {
    return height * ((width * each + 3) / 4 * 4 + sizeof(void*));
}

std::size_t beside_pixels(std::int64_t width, std::int64_t height, std::size_t file) {
    constexpr std::int64_t kSlack = 8 << 20, kConverted = 28, kStrip = 1 << 20, kLine = 2048, kMaxLine = 65'536;
    return file + static_cast<std::size_t>(kSlack + kConverted * std::min(width * height, kStrip) +
                                           kLine * std::min(std::max(width, height), kMaxLine));
}

}  // namespace sacvit::detail
