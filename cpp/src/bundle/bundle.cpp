#include "bundle/bundle.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

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

bool is_precision(const std::string& name) { return name == "fp32" || name == "fp16" || name == "int8"; }
constexpr std::size_t kManifestLimit = 16 << 20;  // bytes; a larger file is no manifest
constexpr std::int64_t kLabelsLimit = 64 << 20;   // bytes
constexpr std::string_view kForGpu = "-gpu";      // behind the role of an engine that is there twice

bool ends_with(const std::string& text, std::string_view end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// A name with a slash could reach outside the bundle.
bool is_plain_name(const std::string& name) {
    constexpr std::string_view first = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    return !name.empty() && name.size() <= 255 && first.find(name[0]) != first.npos &&
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
        if (!is_precision(precision)) {
            fail(ErrorCode::bundle, kName, " lists the unknown variant '", precision.substr(0, 80), "'");
        }
        if (out.variants.emplace(precision, parse_variant(variant)).second) {
            out.precisions.push_back(precision);
        }
    }
    return out;
}

std::vector<std::string> read_labels(const std::string& folder, const Manifest& manifest) {
    if (manifest.labels.bytes > kLabelsLimit) {
        fail(ErrorCode::bundle, folder, ": ", manifest.labels.path, " is too large for labels");
    }
    const HeldFile file = hold_file(folder, manifest.labels, kRemedy);
    if (!is_utf8(file.bytes())) {
        fail(ErrorCode::bundle, file.path, " is not UTF-8 text");
    }
    std::vector<std::string> labels = split_lines(file.bytes());
    const std::int64_t classes = manifest.config.geometry.classes;
    if (static_cast<std::int64_t>(labels.size()) != classes) {
        fail(ErrorCode::bundle, folder, ": ", labels.size(), " labels for ", classes, " classes");
    }
    return labels;
}

// The manifest's content. Throws Error (bundle) where there is no bundle.
std::string read_manifest(const std::string& path) {
    std::error_code ignored;
    const fs::path folder = path;
    std::error_code error;
    const fs::file_type type = fs::status(folder, error).type();
    if (type == fs::file_type::none || type == fs::file_type::unknown) {
        fail(ErrorCode::bundle, "can't read ", path, ": ", error.message());
    }
    if (type != fs::file_type::directory) {
        fail(ErrorCode::bundle, path, fs::exists(folder, ignored) ? " is a file" : " does not exist",
             "; a bundle is a folder NAME.sacvit, written by sacvit-export");
    }
    const fs::path manifest = folder / kName;
    if (!fs::exists(manifest, ignored)) {
        fail(ErrorCode::bundle, path, " has no manifest.json; it is not a bundle, or not a whole one");
    }
    return read_file(manifest.string(), ErrorCode::bundle, kManifestLimit);
}

}  // namespace

FileEntry parse_entry(const json& data, const std::string& document) {
    if (!data.is_object() || data.size() != 3) {
        fail(ErrorCode::usage, "a file's entry has other fields than path, sha256 and bytes");
    }
    FileEntry out{data.at("path").get<std::string>(), data.at("sha256").get<std::string>(), 0};
    if (!is_plain_name(out.path)) {
        fail(ErrorCode::bundle, document, " names the file '", out.path.substr(0, 80), "'; it must be a plain name");
    }
    if (!is_hash(out.sha256)) {
        fail(ErrorCode::bundle, document, ": the hash of ", out.path, " is not a SHA-256");
    }
    const json& bytes = data.at("bytes");
    if (!bytes.is_number_unsigned() || bytes.get<std::int64_t>() < 0) {  // below zero: beyond 63 bits
        fail(ErrorCode::usage, "the size of ", out.path, " is not a whole number of bytes");
    }
    out.bytes = bytes.get<std::int64_t>();
    return out;
}

Manifest parse_manifest(std::string_view raw) {
    Manifest out;
    parse_sealed(raw, kSchema, kName, kRemedy, [&](const json& data) { out = parse_fields(data); });
    return out;
}

double Bundle::eta_of(const std::string& precision) const {
    return manifest.variants.at(precision).eta.value_or(manifest.eta);
}

const Variant& Bundle::variant(const std::string& precision) const {
    const auto variant = manifest.variants.find(precision);
    if (variant == manifest.variants.end() && !is_precision(precision)) {
        fail(ErrorCode::usage, "unknown precision '", precision, "'; there are: auto, fp32, fp16, int8");
    }
    if (variant == manifest.variants.end()) {
        const std::string all = manifest.precisions.empty() ? "none" : joined(manifest.precisions);
        // fp32 is in every export: without it, the bundle was packed.
        const std::string remedy =
            precision == "fp32" ? "take the bundle that it was packed from" : "export it with --" + precision;
        fail(ErrorCode::bundle, path, " has no ", precision, " variant (it has ", all, "); ", remedy);
    }
    return variant->second;
}

HeldFiles Bundle::hold(const std::string& precision, const std::set<std::string>& roles, bool for_gpu) const {
    const std::map<std::string, FileEntry>& files = variant(precision).files;
    HeldFiles out;
    for (const auto& [name, entry] : files) {
        const bool laid_out = ends_with(name, kForGpu);
        const std::string role = laid_out ? name.substr(0, name.size() - kForGpu.size()) : name;
        const bool wanted = for_gpu && files.count(role + std::string(kForGpu)) > 0;
        if (roles.count(role) > 0 && laid_out == wanted) {
            out[role] = hold_file(path, entry, kRemedy);
        } else {
            check_file(path, entry, kRemedy);
        }
    }
    return out;
}

Bundle open_bundle(const std::string& path, const std::function<void(const Bundle&)>& use) {
    return despite_writers(
        path, [&] { return read_manifest(path); },
        [&](const std::string& raw) {
            Bundle bundle{path, {}, {}};
            try {
                bundle.manifest = parse_manifest(raw);
            } catch (const Error& error) {
                fail(error.code(), path, ": ", error.what());
            }
            bundle.labels = read_labels(path, bundle.manifest);
            if (use) {
                use(bundle);
            }
            return bundle;
        });
}

}  // namespace sacvit::detail
