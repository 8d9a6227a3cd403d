#include "bundle/seal.hpp"

#include <nlohmann/json.hpp>

#include "bundle/sha256.hpp"
#include "errors.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view kMark = "\"digest\": \"sha256:";
constexpr std::size_t kDigits = 64;

// Where the digest's digits stand; npos if there are none.
std::size_t find_digest(std::string_view raw) {
    for (std::size_t at = raw.find(kMark); at != raw.npos; at = raw.find(kMark, at + 1)) {
        const std::size_t digits = at + kMark.size();
        if (digits + kDigits < raw.size() && is_hash(raw.substr(digits, kDigits)) && raw[digits + kDigits] == '"') {
            return digits;
        }
    }
    return raw.npos;
}

// The digest is the hash of the file with zeros for the digest's own digits.
bool is_sealed(std::string_view raw) {
    const std::size_t digits = find_digest(raw);
    return digits != raw.npos && sha256({raw.substr(0, digits), std::string(kDigits, '0'),
                                         raw.substr(digits + kDigits)}) == raw.substr(digits, kDigits);
}

}  // namespace

bool is_hash(std::string_view value) {
    return value.size() == kDigits && value.find_first_not_of("0123456789abcdef") == value.npos;
}

std::string detail_of(const std::exception& error) {
    const std::string message = error.what();
    const std::size_t prefix = message.find("] ");
    return prefix == message.npos ? message : message.substr(prefix + 2);
}

json parse_sealed(std::string_view raw, std::int64_t schema, const std::string& name, const std::string& remedy) {
    json data;
    try {
        data = json::parse(raw);
    } catch (const json::exception& error) {
        fail(ErrorCode::bundle, name, " is not valid JSON (", detail_of(error), "); ", remedy);
    }
    if (!data.is_object() || !data.contains("schema") || !data["schema"].is_number_integer()) {
        fail(ErrorCode::bundle, name, " has no schema number; ", remedy);
    }
    if (data["schema"] > schema) {
        fail(ErrorCode::bundle, name, " was written by a newer sacvit-deploy (schema ", data["schema"].dump(),
             ", this one reads ", schema, "); upgrade sacvit-deploy");
    }
    if (!is_sealed(raw)) {
        fail(ErrorCode::bundle, name, " was changed after it was written; ", remedy);
    }
    return data;
}

}  // namespace sacvit::detail
