#include "bundle/seal.hpp"

#include "bundle/sha256.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kDigits = 64;

// Whether the digest is the hash of the file with zeros in place of the digest's own digits.
bool is_sealed(const json& data, std::string_view raw) {
    const auto digest = data.find("digest");
    const std::string hash = digest != data.end() && digest->is_string() ? digest->get<std::string>() : "";
    const std::size_t at = raw.find(hash);
    if (hash.substr(0, 7) != "sha256:" || !is_hash(hash.substr(7)) || at == raw.npos) {
        return false;
    }
    const std::string_view before = raw.substr(0, at + 7), after = raw.substr(at + 7 + kDigits);
    return sha256({before, std::string(kDigits, '0'), after}) == hash.substr(7);
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

json open_sealed(std::string_view raw, std::int64_t schema, const std::string& name, const std::string& remedy) {
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
    if (!is_sealed(data, raw)) {
        fail(ErrorCode::bundle, name, " was changed after it was written; ", remedy);
    }
    return data;
}

}  // namespace sacvit::detail
