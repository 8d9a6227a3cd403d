// JSON files that carry a hash of themselves, so that a change of any byte shows. As sacvit_deploy/bundle/digest.py.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace sacvit::detail {

// Whether a value is a SHA-256 in hexadecimal.
bool is_hash(std::string_view value);

// Reads a sealed file's object by `parse`. `name` stands in messages, `remedy` ends them. Throws Error (bundle) where
// the file is no JSON object with a schema number, has a schema newer than `schema`, was changed since its digest was
// written, or has a missing or wrong field.
void parse_sealed(std::string_view raw, std::int64_t schema, const std::string& name, const std::string& remedy,
                  const std::function<void(const nlohmann::ordered_json&)>& parse);

}  // namespace sacvit::detail
