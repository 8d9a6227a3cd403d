#include "text.hpp"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace sacvit::detail {
namespace {

using nlohmann::json;

// Throws json::type_error for a text that is not UTF-8.
std::string quoted(std::string_view value) { return json(std::string(value)).dump(-1, ' ', true); }

}  // namespace

std::string json_string(std::string_view value) {
    if (is_utf8(value)) {
        return quoted(value);
    }
    std::string out;
    for (const char character : value) {
        if (const std::string_view byte(&character, 1); is_utf8(byte)) {
            const std::string ascii = quoted(byte);
            out.append(ascii, 1, ascii.size() - 2);
        } else {
            out += "\\udc" + hex(byte);
        }
    }
    return '"' + out + '"';
}

std::string json_number(double value, int digits) {
    std::string out = fixed(value, digits);
    double rounded = 0;
    std::from_chars(out.data(), out.data() + out.size(), rounded);
    if (rounded != 0 && rounded < 1e-4) {
        return json(rounded).dump();  // with an exponent
    }
    out.erase(out.find_last_not_of('0') + 1);
    return out.back() == '.' ? out + '0' : out;
}

std::string fixed(double value, int digits) {
    char buffer[400];  // the largest number has 309 digits before the point
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, digits);
    return {buffer, end.ptr};
}

bool is_utf8(std::string_view value) {
    try {
        quoted(value);
        return true;
    } catch (const json::type_error&) {
        return false;
    }
}

// One object for the process, never freed: a thread may end after the library's statics.
ClassicLocale::ClassicLocale() {
    static const locale_t classic = ::newlocale(LC_ALL_MASK, "C", nullptr);
    before_ = ::uselocale(classic);
}

ClassicLocale::~ClassicLocale() { ::uselocale(before_); }

std::string hex(std::string_view bytes) {
    std::string out;
    for (const char character : bytes) {
        const auto byte = static_cast<std::uint8_t>(character);
        out += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    }
    return out;
}

std::vector<std::string> split_lines(std::string_view value) {
    std::vector<std::string> lines;
    while (!value.empty()) {
        const std::size_t end = std::min(value.find('\n'), value.size());
        const std::string_view line = value.substr(0, end);
        lines.emplace_back(line.substr(0, line.size() - (!line.empty() && line.back() == '\r')));
        value.remove_prefix(std::min(end + 1, value.size()));
    }
    return lines;
}

std::string first_line(std::string_view value) { return std::string(value.substr(0, value.find('\n'))); }

std::string lower_case(std::string value) {
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return value;
}

}  // namespace sacvit::detail
