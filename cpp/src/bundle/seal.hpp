// JSON files that carry a hash of themselves, so that a change of any byte shows. As sacvit_deploy/bundle/digest.py.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "errors.hpp"

namespace sacvit::detail {

// Whether a value is a SHA-256 in hexadecimal.
bool is_hash(std::string_view value);

// The message of the JSON library's exception without its prefix.
std::string detail_of(const std::exception& error);

// The object in a sealed file. `name` stands in messages, `remedy` ends them. Throws Error (bundle) where the file is
// no JSON object with a schema number, has a schema newer than `schema`, or was changed since its digest was written.
nlohmann::ordered_json open_sealed(std::string_view raw, std::int64_t schema, const std::string& name,
                                   const std::string& remedy);

// Reads a sealed file's object by `parse`. A missing or wrong field becomes an Error (bundle), too.
template <typename Parse>
auto parse_sealed(std::string_view raw, std::int64_t schema, const std::string& name, const std::string& remedy,
                  const Parse& parse) {
    const nlohmann::ordered_json data = open_sealed(raw, schema, name, remedy);
    std::string reason;
    try {
        return parse(data);
    } catch (const nlohmann::json::exception& error) {
        reason = detail_of(error);
    } catch (const Error& error) {
        if (error.code() == ErrorCode::bundle) {
            throw;
        }
        reason = error.what();
    }
    fail(ErrorCode::bundle, name, " is incomplete or wrong (", reason, "); ", remedy);
}

}  // namespace sacvit::detail
