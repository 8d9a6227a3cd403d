#include "backends/machine.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "backends/cpu_quota.hpp"
#include "backends/device_name.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {

int usable_cores() {
    static const std::optional<double> quota = cpu_quota();
    cpu_set_t set;
    const bool known = ::sched_getaffinity(0, sizeof set, &set) == 0;
    const int affinity = known ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency());
    return core_limit(affinity, quota, std::getenv("OMP_NUM_THREADS"));
}

int core_limit(int affinity, std::optional<double> quota, const char* omp) {
    int cores = affinity;
    if (quota && *quota < cores) {
        cores = static_cast<int>(std::ceil(*quota));
    }
    std::string first = omp == nullptr ? "" : omp;
    first.erase(std::min(first.find(','), first.size()));  // more numbers are for nested teams
    first.erase(0, first.find_first_not_of(' '));
    first.erase(first.find_last_not_of(' ') + 1);
    int value = 0;
    const auto [end, error] = std::from_chars(first.data(), first.data() + first.size(), value);
    if (error == std::errc() && end == first.data() + first.size() && value > 0) {
        cores = std::min(cores, value);
    }
    return std::max(1, cores);
}

std::string choose_precision(const std::vector<std::string>& available, const std::string& device,
                             const std::set<std::string>& features) {
    std::vector<std::string> order = {"fp16", "fp32", "int8"};
    if (parse_device(device).is_cpu()) {
        const auto fast = {"amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp"};
        const bool dots = std::any_of(fast.begin(), fast.end(), [&](auto name) { return features.count(name) > 0; });
        order =
            dots ? std::vector<std::string>{"int8", "fp32", "fp16"} : std::vector<std::string>{"fp32", "int8", "fp16"};
    }
    const auto best = std::find_first_of(order.begin(), order.end(), available.begin(), available.end());
    return best == order.end() ? order.front() : *best;
}

std::set<std::string> cpu_features() {
    std::set<std::string> words;
    try {
        const std::string all = read_file("/proc/cpuinfo", ErrorCode::backend, std::size_t{1} << 24);
        for (std::size_t at = 0, end = 0; at < all.size(); at = end + 1) {
            end = std::min(all.find_first_of(" \t\n", at), all.size());
            words.insert(all.substr(at, end - at));
        }
    } catch (const Error&) {  // no Linux
    }
    return words;
}

}  // namespace sacvit::detail
