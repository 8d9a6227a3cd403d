#include "bundle/bundle.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "bundle/seal.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr std::int64_t kSchema = 1;
constexpr const char* kName = "manifest.json";
constexpr const char* kRemedy = "export the bundle again";
constexpr std::size_t kManifestLimit = 16 << 20;  // bytes; a larger file is no manifest

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

Manifest parse_manifest(std::string_view raw) {
    Manifest out;
    parse_sealed(raw, kSchema, kName, kRemedy, [&](const json& data) { out = parse_fields(data); });
    return out;
}

std::string check_file(const std::string& folder, const FileEntry& entry, const std::string& remedy) {
    const std::string path = (fs::path(folder) / entry.path).string();
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
        fail(ErrorCode::bundle, path, " is missing; ", remedy);
    }
    const File file(path, ErrorCode::bundle);
    if (const auto size = static_cast<std::int64_t>(file.size()); size != entry.bytes) {
        fail(ErrorCode::bundle, path, " has ", size, " bytes instead of ", entry.bytes, "; ", remedy);
    }
    if (file.sha256() != entry.sha256) {
        fail(ErrorCode::bundle, path, " was changed after it was written (its hash differs); ", remedy);
    }
    return path;
}

double Bundle::eta_of(const std::string& precision) const {
    return manifest.variants.at(precision).eta.value_or(manifest.eta);
}

const Variant& Bundle::variant(const std::string& precision) const {
    const auto variant = manifest.variants.find(precision);
    if (variant == manifest.variants.end()) {
        const std::string all = manifest.precisions.empty() ? "none" : joined(manifest.precisions);
        fail(ErrorCode::bundle, path, " has no ", precision, " variant (it has ", all, "); export it with --",
             precision);
    }
    return variant->second;
}

std::map<std::string, std::string> Bundle::checked_files(const std::string& precision) const {
    std::map<std::string, std::string> paths;
    for (const auto& [role, entry] : variant(precision).files) {
        paths[role] = check_file(path, entry, kRemedy);
    }
    return paths;
}

Bundle open_bundle(const std::string& path) {
    std::error_code ignored;
    const fs::path folder = path;
    if (!fs::is_directory(folder, ignored)) {
        fail(ErrorCode::bundle, path, fs::exists(folder, ignored) ? " is a file" : " does not exist",
             "; a bundle is a folder NAME.sacvit, written by sacvit-export");
    }
    const fs::path manifest = folder / kName;
    if (!fs::exists(manifest, ignored)) {
        fail(ErrorCode::bundle, path, " has no manifest.json; it is not a bundle, or not a whole one");
    }
    Bundle bundle{path, {}, {}};
    const std::string raw = read_file(manifest.string(), ErrorCode::bundle, kManifestLimit);
    try {
        bundle.manifest = parse_manifest(raw);
    } catch (const Error& error) {
        fail(error.code(), path, ": ", error.what());
    }
    const std::string labels = check_file(path, bundle.manifest.labels, kRemedy);
    const std::string text = read_file(labels, ErrorCode::bundle);
    if (!is_utf8(text)) {
        fail(ErrorCode::bundle, labels, " is not UTF-8 text");
    }
    bundle.labels = split_lines(text);
    const std::int64_t classes = bundle.manifest.config.geometry.classes;
    if (static_cast<std::int64_t>(bundle.labels.size()) != classes) {
        fail(ErrorCode::bundle, path, ": ", bundle.labels.size(), " labels for ", classes, " classes");
    }
    return bundle;
}

}  // namespace sacvit::detail
