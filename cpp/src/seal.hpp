// JSON files that carry a hash of themselves, so that a change of any byte shows. As sacvit_deploy/bundle/digest.py.
#pragma once

#include <string_view>

namespace sacvit::detail {

// Whether a value is a SHA-256 in hexadecimal.
bool is_hash(std::string_view value);

// Whether a file is as it was when its digest was written into it.
bool is_sealed(std::string_view raw);

}  // namespace sacvit::detail
