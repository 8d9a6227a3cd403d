#include "backends/cpu_quota.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "control_groups.hpp"

namespace sacvit::detail {

namespace {

void add(std::vector<double>& quotas, std::string_view quota, std::string_view period) {
    const long long time = whole_number(quota).value_or(0), of = whole_number(period).value_or(0);
    if (time > 0 && of > 0) {
        quotas.push_back(static_cast<double>(time) / static_cast<double>(of));
    }
}

void add_version1(std::vector<double>& quotas, const std::string& folder) {
    add(quotas, small_file(folder + "/cpu.cfs_quota_us"), small_file(folder + "/cpu.cfs_period_us"));
}

void add_version2(std::vector<double>& quotas, const std::string& folder) {
    const std::string words = small_file(folder + "/cpu.max");
    const std::size_t space = words.find(' ');
    if (space != std::string::npos) {
        add(quotas, std::string_view(words).substr(0, space), std::string_view(words).substr(space + 1));
    }
}

}  // namespace

std::optional<double> cpu_quota(const std::string& membership, const std::string& hierarchy) {
    std::vector<double> quotas;
    for (const ControlGroup& group : control_groups(small_file(membership))) {
        if (!group.version2 && !group.has("cpu")) {
            continue;
        }
        for (const std::string& mount : {group.version2 ? hierarchy : hierarchy + "/" + group.controllers,
                                         hierarchy + (group.version2 ? "/unified" : "/cpu")}) {
            for (const std::string& folder : upwards(mount, group.path)) {
                (group.version2 ? add_version2 : add_version1)(quotas, folder);
            }
        }
    }
    if (quotas.empty()) {
        return std::nullopt;
    }
    return *std::min_element(quotas.begin(), quotas.end());
}

}  // namespace sacvit::detail
