#include "bundle/seal.hpp"

#include <nlohmann/json.hpp>

#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kDigits = 64;
constexpr int kDepth = 64;  // levels of a document; a manifest has seven

// Whether the digest is the hash of the file with zeros in place of the digest's own digits.
bool is_sealed(const json& data, std::string_view raw) {
    const auto digest = data.find("digest");
    const std::string hash = digest != data.end() && digest->is_string() ? digest->get<std::string>() : "";
    const std::size_t at = raw.find(hash);
    if (hash.substr(0, 7) != "sha256:" || !is_hash(hash.substr(7)) || at == raw.npos) {
        return false;
    }
    return sha256(std::string(raw).replace(at + 7, kDigits, kDigits, '0')) == hash.substr(7);
}

// Throws what the JSON library throws for other faults. Values are written and freed by recursion, which has an end.
bool check_depth(int depth) {
    if (depth > kDepth) {
        throw json::other_error::create(501, "it is nested too deeply", static_cast<const json*>(nullptr));
    }
    return true;
}

// The message of the JSON library's exception without its prefix.
std::string reason_of(const json::exception& error) {
    const std::string message = error.what();
    const std::size_t prefix = message.find("] ");
    return prefix == message.npos ? message : message.substr(prefix + 2);
}

}  // namespace

bool is_hash(std::string_view value) {
    return value.size() == kDigits && value.find_first_not_of("0123456789abcdef") == value.npos;
}

void parse_sealed(std::string_view raw, std::int64_t schema, const std::string& name, const std::string& remedy,
                  const std::function<void(const json&)>& parse) {
    json data;
    const ClassicLocale classic;  // the JSON library asks for the locale's decimal point
    try {
        data = json::parse(raw, [](int depth, json::parse_event_t, const json&) { return check_depth(depth); });
    } catch (const json::exception& error) {
        fail(ErrorCode::bundle, name, " is not valid JSON (", reason_of(error), "); ", remedy);
    }
    if (!data.is_object() || !data.contains("schema") || !data["schema"].is_number_integer()) {
        fail(ErrorCode::bundle, name, " has no schema number; ", remedy);
    }
    // Numbers above zero are unsigned, so that none is too large.
    if (data["schema"].is_number_unsigned() &&
        data["schema"].get<std::uint64_t>() > static_cast<std::uint64_t>(schema)) {
        fail(ErrorCode::bundle, name, " was written by a newer sacvit-deploy (schema ", data["schema"].dump(),
             ", this one reads ", schema, "); upgrade sacvit-deploy");
    }
    if (!is_sealed(data, raw)) {
        fail(ErrorCode::bundle, name, " was changed after it was written; ", remedy);
    }
    std::string reason;
    try {
        return parse(data);
    } catch (const json::exception& error) {
        reason = reason_of(error);
    } catch (const Error& error) {
        if (error.code() == ErrorCode::bundle) {
            throw;
        }
        reason = error.what();
    }
    fail(ErrorCode::bundle, name, " is incomplete or wrong (", reason, "); ", remedy);
}

}  // namespace sacvit::detail
