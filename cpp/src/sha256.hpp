// SHA-256, by libcrypto.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

// In hexadecimal, of the parts one after the other.
std::string sha256(const std::vector<std::string_view>& parts);

// Of an open file, from where it stands. Throws std::system_error where it can't be read.
std::string sha256_of_file(int descriptor);

}  // namespace sacvit::detail
