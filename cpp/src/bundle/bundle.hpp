// Opening a bundle: nothing reaches a backend before its hash is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "config.hpp"

namespace sacvit::detail {

// One file of the bundle: a plain name in its folder, its SHA-256 and its size in bytes.
struct FileEntry {
    std::string path;
    std::string sha256;
    std::int64_t bytes = 0;
};

// Reads an entry of a file called `document`. Throws Error (bundle, usage), or what the JSON library throws.
FileEntry parse_entry(const nlohmann::ordered_json& data, const std::string& document);

// One precision: files by role (`ee`, `sac`, `weights`), and a default eta where it differs from the bundle's.
struct Variant {
    std::map<std::string, FileEntry> files;
    std::optional<double> eta;
};

struct Manifest {
    Config config;
    double eta = 0;
    FileEntry labels;
    std::vector<std::string> precisions;  // in the manifest's order
    std::map<std::string, Variant> variants;
};

// Reads manifest.json's content. Throws Error (bundle) for damage, changes, and newer schemas.
Manifest parse_manifest(std::string_view raw);

// An open bundle: manifest and labels are checked, engine files are checked when a variant is asked for.
struct Bundle {
    std::string path;
    Manifest manifest;
    std::vector<std::string> labels;

    // The default eta of a variant that the bundle has.
    double eta_of(const std::string& precision) const;
    // A variant. Throws Error (bundle) if the bundle doesn't have it.
    const Variant& variant(const std::string& precision) const;
    // Paths of a variant's files by role (`ee`, `sac`, `weights`), after checking the size and hash of each. Throws
    // Error (bundle).
    std::map<std::string, std::string> checked_files(const std::string& precision) const;
};

// The path of a file, after checking its size and hash; `remedy` ends the error's sentence. Throws Error (bundle).
std::string check_file(const std::string& folder, const FileEntry& entry, const std::string& remedy);

// Opens the bundle folder at `path`. Throws Error (bundle).
Bundle open_bundle(const std::string& path);

}  // namespace sacvit::detail
