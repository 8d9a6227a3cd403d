// The CPU time that a container may take: the quota of its control groups, versions 1 and 2. As
// sacvit_deploy/cpu_quota.py.
#pragma once

#include <optional>
#include <string>

namespace sacvit::detail {

// How many CPUs' time this process may take, such as 1.5; nothing without a quota or control groups. Groups lie in each
// other, and the tightest quota counts. `membership` lists the groups of this process. `hierarchy` is where they are
// mounted; in a container that may be the container's own group, so its root counts, too.
std::optional<double> cpu_quota(const std::string& membership = "/proc/self/cgroup",
                                const std::string& hierarchy = "/sys/fs/cgroup");

}  // namespace sacvit::detail
