#include "backends/machine.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
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
                             const std::vector<std::string>& features) {
    const std::string lower = lower_case(provider);
    const auto has = [](const std::vector<std::string>& all, const std::string& one) {
        return std::find(all.begin(), all.end(), one) != all.end();
    };
    std::vector<std::string> order = {"fp16", "fp32", "int8"};
    if (lower.empty() || lower == "cpu" || lower == "cpuexecutionprovider") {
        order = {"fp32", "int8", "fp16"};
        for (const char* fast : {"amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp"}) {
            if (has(features, fast)) {
                order = {"int8", "fp32", "fp16"};
            }
        }
    }
    const auto best = std::find_if(order.begin(), order.end(), [&](const std::string& p) { return has(available, p); });
    return best == order.end() ? order.front() : *best;
}

std::vector<std::string> cpu_features() {
    std::ifstream file("/proc/cpuinfo");
    std::vector<std::string> out;
    for (std::string word; file >> word;) {
        if (std::find(out.begin(), out.end(), word) == out.end()) {
            out.push_back(word);
        }
    }
    return out;
}

}  // namespace sacvit::detail
