// This machine's cores, and the variant that suits its processor. As sacvit_deploy/cpu.py and backends/choose.py.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sacvit::detail {

// Cores this process may keep busy, which in a container is often fewer than the machine has: what it may run on, a
// quota of CPU time (read once) and OMP_NUM_THREADS allow.
int usable_cores();

// The tightest of the three; of a part of a CPU, a whole core. `omp` is OMP_NUM_THREADS, null where it is not set.
int core_limit(int affinity, std::optional<double> quota, const char* omp);

// The variant that `auto` means among the `available` ones. On the CPU: int8 where the processor has dot products of
// bytes, else fp32. Elsewhere fp16. `device` as a user names it. `features` are the processor's, as Linux names them.
std::string choose_precision(const std::vector<std::string>& available, const std::string& device,
                             const std::set<std::string>& features);

// The words of /proc/cpuinfo, instruction sets among them; empty outside Linux.
std::set<std::string> cpu_features();

}  // namespace sacvit::detail
