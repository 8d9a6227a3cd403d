#include "images/free_memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <vector>

#include "control_groups.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// The number behind a name, in lines of a name and a number; nothing without it.
std::optional<long long> field(const std::string& text, std::string_view name) {
    std::optional<long long> found;
    for (const std::string& line : split_lines(text)) {
        const std::size_t end = line.find_first_of(" \t");
        const std::size_t from = line.find_first_not_of(" \t", std::min(end, line.size()));
        if (from != std::string::npos && std::string_view(line).substr(0, end) == name) {
            found = whole_number(std::string_view(line).substr(from, line.find_first_of(" \t", from) - from));
        }
    }
    return found;
}

std::optional<long long> of_machine(const std::string& root) {
    std::optional<long long> free = field(small_file(root + "/proc/meminfo"), "MemAvailable:");
    return free ? std::optional(*free * 1024) : std::nullopt;
}

std::optional<long long> of_address_space(const std::string& root) {
    rlimit space{};
    long long pages = 0;
    if (::getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY ||
        !(std::ifstream(root + "/proc/self/statm") >> pages)) {
        return std::nullopt;
    }
    return static_cast<long long>(space.rlim_cur) - pages * ::sysconf(_SC_PAGESIZE);
}

// Adds what is left in a group. What its files keep in the page cache counts as free: the kernel gives it up for those
// who need memory.
void add(std::vector<long long>& free, const std::string& folder, bool version2) {
    constexpr long long kMost = 1LL << 60;  // version 1 says so that there is no limit; sums of such must be numbers
    const auto allowed = whole_number(small_file(folder + (version2 ? "/memory.max" : "/memory.limit_in_bytes")));
    const auto used = whole_number(small_file(folder + (version2 ? "/memory.current" : "/memory.usage_in_bytes")));
    if (!allowed || !used) {
        return;
    }
    long long left = std::min(*allowed, kMost) - std::min(*used, kMost);
    const std::string stat = small_file(folder + "/memory.stat");
    for (const char* kind : {"active_file", "inactive_file"}) {
        left += std::min(field(stat, (version2 ? "" : "total_") + std::string(kind)).value_or(0), kMost);
    }
    free.push_back(left);
}

}  // namespace

std::optional<std::size_t> free_memory(const std::string& root) {
    std::vector<long long> free;
    for (const auto& found : {of_machine(root), of_address_space(root)}) {
        if (found) {
            free.push_back(*found);
        }
    }
    for (const ControlGroup& group : control_groups(small_file(root + "/proc/self/cgroup"))) {
        if (group.version2 || group.has("memory")) {
            const std::string mount = root + "/sys/fs/cgroup" + (group.version2 ? "" : "/memory");
            for (const std::string& folder : upwards(mount, group.path)) {
                add(free, folder, group.version2);
            }
        }
    }
    if (free.empty()) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(std::max(0LL, *std::min_element(free.begin(), free.end())));
}

}  // namespace sacvit::detail
