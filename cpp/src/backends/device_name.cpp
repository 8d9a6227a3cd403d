#include "backends/device_name.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "text.hpp"

namespace sacvit::detail {

std::string device_of(const std::string& provider) {
    constexpr std::string_view suffix = "executionprovider";
    std::string out = lower_case(provider);
    if (out.size() > suffix.size() && out.compare(out.size() - suffix.size(), suffix.size(), suffix) == 0) {
        out.resize(out.size() - suffix.size());
    }
    return out;
}

DeviceName parse_device(const std::string& name) {
    const std::size_t colon = std::min(name.find(':'), name.size());
    DeviceName out{device_of(name.substr(0, colon)), 0};
    if (name.empty()) {
        return {};
    }
    const std::string_view digits = std::string_view(name).substr(std::min(colon + 1, name.size()));
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.number);
    const bool numbered = error == std::errc() && end == digits.data() + digits.size() && out.number >= 0;
    if (out.provider.empty() || (colon < name.size() && !numbered)) {
        fail(ErrorCode::usage, "--device ", name, ": a device is cpu, cuda, cuda:1, webgpu or a provider's name");
    }
    if (out.is_cpu() && out.number != 0) {
        fail(ErrorCode::usage, "--device ", name,
             ": there is one processor, cpu; --threads says how much of it to use");
    }
    return out;
}

}  // namespace sacvit::detail
