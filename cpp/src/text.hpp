// Messages put together from parts, and small operations on text.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

template <typename... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    out.precision(12);  // digits enough to show how a value misses its bound
    (out << ... << parts);
    return out.str();
}

// Throws an Error with a message put together from parts.
template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    throw Error(code, text(parts...));
}

// The items with ", " between them.
template <typename Items = std::vector<std::string>>
std::string joined(const Items& items) {
    std::ostringstream out;
    const char* between = "";
    for (const auto& item : items) {
        out << std::exchange(between, ", ") << item;
    }
    return out.str();
}

// A JSON string, ASCII only, quotes included. Of a text that is not UTF-8, each byte from 0x80 up becomes the lone
// surrogate U+DC00 + byte, from which Python's os.fsencode gets the bytes of a file name back.
std::string json_string(std::string_view value);
// A number from 0 up, rounded to `digits` decimals, as Python's json writes it.
std::string json_number(double value, int digits);
bool is_utf8(std::string_view value);
std::string hex(std::string_view bytes);
// Lines end with \n or \r\n; the end of the last one may be missing.
std::vector<std::string> split_lines(std::string_view value);
std::string first_line(std::string_view value);
std::string lower_case(std::string value);  // ASCII letters alone

}  // namespace sacvit::detail
