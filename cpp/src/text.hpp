// Text the way Python's runtime reads and writes it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

// A JSON string, ASCII only, quotes included; bytes that are no UTF-8 become lone surrogates, as in Python.
std::string json_string(std::string_view value);
// A number from 0 up, rounded to `digits` places and written as Python's json does.
std::string json_rounded(double value, int digits);
bool is_utf8(std::string_view value);
// The lines of a text, without their ends, by all the line ends that Unicode knows.
std::vector<std::string> split_lines(std::string_view value);
// How many characters a text has (code points).
std::size_t characters(std::string_view value);

}  // namespace sacvit::detail
