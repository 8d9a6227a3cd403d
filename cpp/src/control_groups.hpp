// The control groups that this process is in, of versions 1 and 2, and the small files in which Linux tells numbers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

struct ControlGroup {
    bool version2;            // alone or beside version 1
    std::string controllers;  // of version 1, with commas between them
    std::string path;         // below the mount

    bool has(const std::string& controller) const;  // of version 1
};

// The groups in a text such as that of /proc/self/cgroup; other lines are left out.
std::vector<ControlGroup> control_groups(const std::string& text);

// The folders of a group and of those around it, whose limits hold, too, up to the mount: in a container that may be
// the container's own group, although its name is the machine's. A group outside of what a container sees begins with
// `/..`.
std::vector<std::string> upwards(const std::string& mount, const std::string& path);

// A small file's text; empty where it can't be read.
std::string small_file(const std::string& path);

// A whole number with white space behind it, if any; nothing for anything else, such as `max` and -1.
std::optional<long long> whole_number(std::string_view text);

}  // namespace sacvit::detail
