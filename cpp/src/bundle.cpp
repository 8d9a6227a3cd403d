#include "bundle.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy = "export the bundle again";
constexpr std::size_t kManifestLimit = 16 << 20;  // bytes; a larger file is no manifest

std::string read_manifest(const fs::path& folder) {
    const std::string path = (folder / "manifest.json").string();
    try {
        std::string raw = File(path).read(kManifestLimit + 1);
        if (raw.size() > kManifestLimit) {
            fail(ErrorCode::bundle, path, " is larger than any manifest");
        }
        return raw;
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) {
            fail(ErrorCode::bundle, folder.string(), " has no manifest.json; it is not a bundle, or not a whole one");
        }
        fail(ErrorCode::bundle, "can't read ", path, ": ", reason(error.code().value()));
    }
}

std::vector<std::string> read_labels(const std::string& path) {
    const File file(path);
    const std::string raw = file.read(file.size());
    if (!is_utf8(raw)) {
        fail(ErrorCode::bundle, path, " is not UTF-8 text");
    }
    return split_lines(raw);
}

}  // namespace

std::string check_file(const std::string& folder, const FileEntry& entry, const std::string& remedy) {
    const std::string path = (fs::path(folder) / entry.path).string();
    try {
        const File file(path);
        const std::size_t size = file.size();
        if (static_cast<std::int64_t>(size) != entry.bytes) {
            fail(ErrorCode::bundle, path, " has ", size, " bytes instead of ", entry.bytes,
                 "; ", remedy);
        }
        if (sha256_of_file(file.descriptor()) != entry.sha256) {
            fail(ErrorCode::bundle, path,
                 " was changed after it was written (its hash differs); ", remedy);
        }
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) {
            fail(ErrorCode::bundle, path, " is missing; ", remedy);
        }
        fail(ErrorCode::bundle, "can't read ", path, ": ", reason(error.code().value()));
    }
    return path;
}

double Bundle::eta_of(const std::string& precision) const {
    return manifest.variants.at(precision).eta.value_or(manifest.eta);
}

const Variant& Bundle::variant(const std::string& precision) const {
    const auto variant = manifest.variants.find(precision);
    if (variant == manifest.variants.end()) {
        std::string have;
        for (const std::string& name : manifest.precisions) {
            have += (have.empty() ? "" : ", ") + name;
        }
        fail(ErrorCode::bundle, path, " has no ", precision, " variant (it has ", have.empty() ? "none" : have,
             "); export it with --", precision);
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
    const std::string raw = read_manifest(folder);
    Bundle bundle{path, {}, {}};
    try {
        bundle.manifest = parse_manifest(raw);
    } catch (const Error& error) {
        fail(ErrorCode::bundle, path, ": ", error.what());
    }
    try {
        bundle.labels = read_labels(check_file(path, bundle.manifest.labels, kRemedy));
    } catch (const std::system_error& error) {
        fail(ErrorCode::bundle, "can't read ", path, "/", bundle.manifest.labels.path, ": ",
             reason(error.code().value()));
    }
    if (static_cast<std::int64_t>(bundle.labels.size()) != bundle.manifest.config.geometry.classes) {
        fail(ErrorCode::bundle, path, ": ", bundle.labels.size(), " labels for ",
             bundle.manifest.config.geometry.classes, " classes");
    }
    return bundle;
}

}  // namespace sacvit::detail
