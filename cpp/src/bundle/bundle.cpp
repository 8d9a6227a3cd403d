#include "bundle/bundle.hpp"

#include <filesystem>
#include <system_error>

#include "bundle/sha256.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy = "export the bundle again";
constexpr std::size_t kManifestLimit = 16 << 20;  // bytes; a larger file is no manifest

}  // namespace

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
    if (sha256_of_file(file) != entry.sha256) {
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
    const fs::path manifest = folder / "manifest.json";
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
