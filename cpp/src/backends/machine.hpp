// This machine's cores, and the variant that suits its processor. As sacvit_deploy/cpu.py and backends/choose.py.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace sacvit::detail {

// Cores this process may run on, which in a container is often fewer than the machine has.
int usable_cores();

// The variant that `auto` means among the `available` ones. On the CPU: int8 where the processor has dot products of
// bytes, else fp32. Elsewhere fp16. `features` are the processor's, as Linux names them.
std::string choose_precision(const std::vector<std::string>& available, const std::string& provider,
                             const std::set<std::string>& features);

// The words of /proc/cpuinfo, instruction sets among them; empty outside Linux.
std::set<std::string> cpu_features();

}  // namespace sacvit::detail
