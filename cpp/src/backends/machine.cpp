#include "backends/machine.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

#include "text.hpp"

namespace sacvit::detail {

int usable_cores() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        return CPU_COUNT(&set);
    }
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string choose_precision(const std::vector<std::string>& available, const std::string& provider,
                             const std::set<std::string>& features) {
    const std::string lower = lower_case(provider);
    std::vector<std::string> order = {"fp16", "fp32", "int8"};
    if (lower.empty() || lower == "cpu" || lower == "cpuexecutionprovider") {
        const auto fast = {"amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp"};
        const bool dots = std::any_of(fast.begin(), fast.end(), [&](auto name) { return features.count(name) > 0; });
        order =
            dots ? std::vector<std::string>{"int8", "fp32", "fp16"} : std::vector<std::string>{"fp32", "int8", "fp16"};
    }
    const auto best = std::find_first_of(order.begin(), order.end(), available.begin(), available.end());
    return best == order.end() ? order.front() : *best;
}

std::set<std::string> cpu_features() {
    std::ifstream file("/proc/cpuinfo");
    return {std::istream_iterator<std::string>(file), {}};
}

}  // namespace sacvit::detail
