// Messages put together from parts, and small operations on text.
#pragma once

#include <locale.h>

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// Appends a text, a character or a number. The host application's locale has no say: it would put commas into numbers.
template <typename Part>
void append(std::string& out, const Part& part) {
    if constexpr (std::is_same_v<Part, char>) {
        out += part;
    } else if constexpr (std::is_convertible_v<const Part&, std::string_view>) {
        out += std::string_view(part);
    } else {
        static_assert(std::is_arithmetic_v<Part> && !std::is_same_v<Part, bool>);
        char buffer[32];
        std::to_chars_result end{};
        if constexpr (std::is_floating_point_v<Part>) {
            // Digits enough to show how a value misses its bound.
            end = std::to_chars(buffer, buffer + sizeof buffer, part, std::chars_format::general, 12);
        } else {
            end = std::to_chars(buffer, buffer + sizeof buffer, part);
        }
        out.append(buffer, end.ptr);
    }
}

template <typename... Parts>
std::string text(const Parts&... parts) {
    std::string out;
    (append(out, parts), ...);
    return out;
}

// Throws an Error with a message put together from parts, in one printable line.
template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    throw Error(code, printable(text(parts...)));
}

// The items with ", " between them.
template <typename Items = std::vector<std::string>>
std::string joined(const Items& items) {
    std::string out;
    const char* between = "";
    for (const auto& item : items) {
        append(out, std::exchange(between, ", "));
        append(out, item);
    }
    return out;
}

// A JSON string, ASCII only, quotes included. Of a text that is not UTF-8, each byte from 0x80 up becomes the lone
// surrogate U+DC00 + byte, from which Python's os.fsencode gets the bytes of a file name back.
std::string json_string(std::string_view value);
// A number from 0 up, rounded to `digits` decimals, as Python's json writes it.
std::string json_number(double value, int digits);
// `value` with `digits` digits behind a point, as printf's %.*f in the C locale.
std::string fixed(double value, int digits);
bool is_utf8(std::string_view value);

// While it lives, this thread has the C locale, whatever the application has chosen.
class ClassicLocale {
public:
    ClassicLocale();
    ~ClassicLocale();
    ClassicLocale(const ClassicLocale&) = delete;
    ClassicLocale& operator=(const ClassicLocale&) = delete;

private:
    locale_t before_;
};

std::string hex(std::string_view bytes);
// Lines end with \n or \r\n; the end of the last one may be missing.
std::vector<std::string> split_lines(std::string_view value);
std::string first_line(std::string_view value);
std::string lower_case(std::string value);  // ASCII letters alone

}  // namespace sacvit::detail
