#include "text.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "errors.hpp"

namespace sacvit::detail {
namespace {

constexpr std::uint32_t kInvalid = 0xFFFFFFFF;

// Decodes one character at `at` and moves behind it; an invalid byte is skipped alone and gives kInvalid.
std::uint32_t next_character(std::string_view value, std::size_t& at) {
    const auto byte = [&](std::size_t offset) { return static_cast<std::uint8_t>(value[at + offset]); };
    const std::uint32_t first = byte(0);
    std::size_t length = first < 0x80 ? 1 : first >= 0xC2 && first < 0xE0 ? 2 : first >= 0xE0 && first < 0xF0 ? 3
                       : first >= 0xF0 && first < 0xF5 ? 4 : 0;
    if (length == 1) {
        ++at;
        return first;
    }
    std::uint32_t code = length ? first & (0xFFu >> (length + 1)) : 0;
    bool good = length && at + length <= value.size();
    for (std::size_t i = 1; good && i < length; ++i) {
        good = (byte(i) & 0xC0) == 0x80;
        code = code << 6 | (byte(i) & 0x3Fu);
    }
    // Too long a form, a surrogate, or beyond Unicode.
    good = good && !(length == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) &&
           !(length == 4 && (code < 0x10000 || code > 0x10FFFF));
    at += good ? length : 1;
    return good ? code : kInvalid;
}

void append_escape(std::string& out, std::uint32_t unit) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) {
        out += "0123456789abcdef"[unit >> shift & 15];
    }
}

}  // namespace

std::string json_string(std::string_view value) {
    std::string out = "\"";
    for (std::size_t at = 0; at < value.size();) {
        const auto byte = static_cast<std::uint8_t>(value[at]);
        const std::uint32_t code = next_character(value, at);
        if (code == kInvalid) {
            append_escape(out, 0xDC00u + byte);
        } else if (code >= 0x10000) {
            append_escape(out, 0xD800u + ((code - 0x10000) >> 10));
            append_escape(out, 0xDC00u + ((code - 0x10000) & 0x3FF));
        } else if (code == '"' || code == '\\') {
            out += '\\';
            out += static_cast<char>(code);
        } else if (code == '\n' || code == '\r' || code == '\t' || code == '\b' || code == '\f') {
            out += '\\';
            out += code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : code == '\b' ? 'b' : 'f';
        } else if (code < 0x20 || code > 0x7E) {
            append_escape(out, code);
        } else {
            out += static_cast<char>(code);
        }
    }
    return out + '"';
}

std::string json_rounded(double value, int digits) {
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
    std::string fixed = buffer;
    fixed.erase(fixed.find_last_not_of('0') + 1);
    if (fixed.back() == '.') {
        fixed += '0';
    }
    const double rounded = std::stod(fixed);
    if (rounded == 0 || std::fabs(rounded) >= 1e-4) {
        return fixed;
    }
    // Python turns to exponents below 0.0001.
    std::string significant = fixed.substr(fixed.find_first_of("123456789"));
    const int exponent = static_cast<int>(fixed.find_first_of("123456789") - fixed.find('.'));
    if (significant.size() > 1) {
        significant.insert(1, ".");
    }
    std::snprintf(buffer, sizeof buffer, "%s%se-%02d", value < 0 ? "-" : "", significant.c_str(), exponent);
    return buffer;
}

std::string number(double value) {
    if (std::isnan(value)) {
        return "nan";
    }
    if (std::isinf(value)) {
        return value < 0 ? "-inf" : "inf";
    }
    char buffer[40];
    for (int digits = 1; digits <= 17; ++digits) {  // the shortest that reads back the same
        std::snprintf(buffer, sizeof buffer, "%.*g", digits, value);
        if (std::stod(buffer) == value) {
            break;
        }
    }
    std::string out = buffer;
    if (out.find('e') != std::string::npos && std::fabs(value) >= 1 && std::fabs(value) < 1e16) {
        std::snprintf(buffer, sizeof buffer, "%.0f", value);
        out = buffer;
    }
    return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

bool is_utf8(std::string_view value) {
    for (std::size_t at = 0; at < value.size();) {
        if (next_character(value, at) == kInvalid) {
            return false;
        }
    }
    return true;
}

std::vector<std::string> split_lines(std::string_view value) {
    std::vector<std::string> lines;
    std::size_t start = 0;
    for (std::size_t at = 0; at < value.size();) {
        const std::size_t here = at;
        const std::uint32_t code = next_character(value, at);
        const bool ends = (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
                          code == 0x2028 || code == 0x2029;
        if (!ends) {
            continue;
        }
        lines.emplace_back(value.substr(start, here - start));
        if (code == '\r' && at < value.size() && value[at] == '\n') {
            ++at;
        }
        start = at;
    }
    if (start < value.size()) {
        lines.emplace_back(value.substr(start));
    }
    return lines;
}

std::size_t characters(std::string_view value) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < value.size(); ++count) {
        next_character(value, at);
    }
    return count;
}

}  // namespace sacvit::detail
