// SHA-256, by libcrypto.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"

namespace sacvit::detail {

// In hexadecimal, of the parts one after the other.
std::string sha256(const std::vector<std::string_view>& parts);

// In hexadecimal, of the rest of an open file. Throws the file's error.
std::string sha256_of_file(const File& file);

}  // namespace sacvit::detail
