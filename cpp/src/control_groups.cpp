#include "control_groups.hpp"

#include <algorithm>
#include <charconv>

#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {

bool ControlGroup::has(const std::string& controller) const {
    return ("," + controllers + ",").find("," + controller + ",") != std::string::npos;
}

std::vector<ControlGroup> control_groups(const std::string& text) {
    std::vector<ControlGroup> groups;
    for (const std::string& line : split_lines(text)) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second != std::string::npos) {
            const std::string controllers = line.substr(first + 1, second - first - 1);
            groups.push_back(
                {line.substr(0, first) == "0" && controllers.empty(), controllers, line.substr(second + 1)});
        }
    }
    return groups;
}

std::vector<std::string> upwards(const std::string& mount, const std::string& path) {
    std::vector<std::string> folders = {mount};
    for (std::size_t at = 0, end = 0; at < path.size(); at = end + 1) {
        end = std::min(path.find('/', at), path.size());
        const std::string name = path.substr(at, end - at);
        if (!name.empty() && name != "..") {
            folders.push_back(folders.back() + "/" + name);
        }
    }
    return folders;
}

std::string small_file(const std::string& path) {
    constexpr std::size_t kLimit = 1 << 20;
    try {
        return read_file(path, ErrorCode::backend, kLimit);
    } catch (const Error&) {
        return {};
    }
}

std::optional<long long> whole_number(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.remove_suffix(1);
    }
    long long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0) {
        return std::nullopt;
    }
    return value;
}

}  // namespace sacvit::detail
