#include "bundle/manifest.hpp"

#include "bundle/seal.hpp"
#include "errors.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;

constexpr std::int64_t kSchema = 1;
constexpr const char* kName = "manifest.json";
constexpr const char* kRemedy = "export the bundle again";

// A name with a slash could reach outside the bundle.
bool is_plain_name(const std::string& name) {
    constexpr std::string_view first = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    return !name.empty() && first.find(name[0]) != first.npos &&
           name.find_first_not_of(std::string(first) + ".-") == name.npos;
}

Variant parse_variant(const json& data) {
    Variant out;
    for (const auto& [role, entry] : data.at("files").get_ref<const json::object_t&>()) {
        out.files[role] = parse_entry(entry, kName);
    }
    for (const char* role : {"ee", "sac"}) {
        if (!out.files.count(role)) {
            fail(ErrorCode::bundle, kName, " lists no ", role, " engine");
        }
    }
    if (const auto eta = data.find("eta"); eta != data.end() && !eta->is_null()) {
        out.eta = check_eta(eta->get<double>());
    }
    return out;
}

Manifest parse_fields(const json& data) {
    for (const char* field : {"name", "golden", "provenance"}) {
        data.at(field);  // this runtime has no use for them, but a bundle without them is not whole
    }
    Manifest out;
    out.config = parse_config(data);
    out.eta = check_eta(data.at("eta").get<double>());
    out.labels = parse_entry(data.at("labels"), kName);
    for (const auto& [precision, variant] : data.at("variants").get_ref<const json::object_t&>()) {
        if (precision != "fp32" && precision != "fp16" && precision != "int8") {
            fail(ErrorCode::bundle, kName, " lists the unknown variant '", precision, "'");
        }
        if (out.variants.emplace(precision, parse_variant(variant)).second) {
            out.precisions.push_back(precision);
        }
    }
    return out;
}

}  // namespace

FileEntry parse_entry(const json& data, const std::string& document) {
    if (!data.is_object() || data.size() != 3) {
        fail(ErrorCode::usage, "a file's entry has other fields than path, sha256 and bytes");
    }
    FileEntry out{data.at("path").get<std::string>(), data.at("sha256").get<std::string>(), 0};
    if (!is_plain_name(out.path)) {
        fail(ErrorCode::bundle, document, " names the file '", out.path, "'; it must be a plain name");
    }
    if (!is_hash(out.sha256)) {
        fail(ErrorCode::bundle, document, ": the hash of ", out.path, " is not a SHA-256");
    }
    if (!data.at("bytes").is_number_integer()) {
        fail(ErrorCode::usage, "the size of ", out.path, " is not a whole number");
    }
    out.bytes = data.at("bytes").get<std::int64_t>();
    return out;
}

Manifest parse_manifest(std::string_view raw) { return parse_sealed(raw, kSchema, kName, kRemedy, parse_fields); }

}  // namespace sacvit::detail
