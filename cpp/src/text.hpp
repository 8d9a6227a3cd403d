// Small operations on text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

// A JSON string, ASCII only, quotes included. Of a text that is not UTF-8, each byte from 0x80 up becomes the lone
// surrogate U+DC00 + byte, from which Python's os.fsencode gets the bytes of a file name back.
std::string json_string(std::string_view value);
// A number from 0 up, rounded to `digits` decimals, as Python's json writes it.
std::string json_number(double value, int digits);
bool is_utf8(std::string_view value);
// Lines end with \n or \r\n; the end of the last one may be missing.
std::vector<std::string> split_lines(std::string_view value);
std::string first_line(std::string_view value);
std::string lower_case(std::string value);  // ASCII letters alone
// The words with ", " between them.
std::string joined(const std::vector<std::string>& words);

}  // namespace sacvit::detail
