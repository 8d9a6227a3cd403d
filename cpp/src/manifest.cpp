#include "manifest.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "errors.hpp"
#include "seal.hpp"

namespace sacvit::detail {
namespace {

using json = nlohmann::ordered_json;

constexpr std::int64_t kSchema = 1;
constexpr const char* kName = "manifest.json";

// A name with a slash could reach outside the bundle.
bool is_plain_name(const std::string& name) {
    constexpr const char* first = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    return !name.empty() && std::string_view(first).find(name[0]) != std::string_view::npos &&
           name.find_first_not_of(std::string(first) + ".-") == name.npos;
}

Variant parse_variant(const json& data) {
    Variant out;
    for (const auto& [role, entry] : data.at("files").get_ref<const json::object_t&>()) {
        out.files[role] = parse_entry(entry, kName);
    }
    for (const char* role : {"ee", "sac"}) {
        if (!out.files.count(role)) {
            fail(ErrorCode::bundle, "manifest.json lists no ", role, " engine");
        }
    }
    if (const auto eta = data.find("eta"); eta != data.end() && !eta->is_null()) {
        out.eta = check_eta(eta->get<double>());
    }
    return out;
}

Manifest parse_fields(const json& data) {
    Manifest out;
    const json& name = data.at("name");
    out.name = name.is_string() ? name.get<std::string>() : name.dump(-1, ' ', true, json::error_handler_t::replace);
    out.config = parse_config(nlohmann::json(data));
    out.eta = check_eta(data.at("eta").get<double>());
    out.labels = parse_entry(data.at("labels"), kName);
    parse_entry(data.at("golden"), kName);
    for (const auto& [precision, variant] : data.at("variants").get_ref<const json::object_t&>()) {
        if (precision != "fp32" && precision != "fp16" && precision != "int8") {
            fail(ErrorCode::bundle, "manifest.json lists the unknown variant '", precision, "'");
        }
        if (out.variants.emplace(precision, parse_variant(variant)).second) {
            out.precisions.push_back(precision);
        }
    }
    data.at("provenance");
    return out;
}

}  // namespace

std::string detail_of(const std::exception& error) {
    const std::string said = error.what();
    const std::size_t prefix = said.find("] ");
    return prefix == said.npos ? said : said.substr(prefix + 2);
}

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
        fail(ErrorCode::usage, "the size of ", out.path, " is no whole number");
    }
    out.bytes = data.at("bytes").get<std::int64_t>();
    return out;
}

Manifest parse_manifest(std::string_view raw) {
    json data;
    try {
        data = json::parse(raw);
    } catch (const json::exception& error) {
        fail(ErrorCode::bundle, "manifest.json is not valid JSON (", detail_of(error), "); export it again");
    }
    if (!data.is_object() || !data.contains("schema") || !data["schema"].is_number_integer()) {
        fail(ErrorCode::bundle, "manifest.json has no schema number; this is not a SAC-ViT bundle");
    }
    if (data["schema"] > kSchema) {
        fail(ErrorCode::bundle, "the bundle was written by a newer sacvit-deploy (schema ", data["schema"].dump(),
             ", this one reads ", kSchema, "); upgrade sacvit-deploy");
    }
    if (!is_sealed(raw)) {
        fail(ErrorCode::bundle, "manifest.json was changed after the export; export it again");
    }
    const auto wrong = [](const std::string& what) {
        fail(ErrorCode::bundle, "manifest.json is incomplete or wrong (", what, "); export it again");
    };
    try {
        return parse_fields(data);
    } catch (const json::exception& error) {
        wrong(detail_of(error));
    } catch (const Error& error) {
        if (error.code() == ErrorCode::bundle) {
            throw;
        }
        wrong(error.what());
    }
    return {};
}

}  // namespace sacvit::detail
