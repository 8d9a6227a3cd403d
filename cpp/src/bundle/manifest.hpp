// manifest.json: the contents of a bundle.
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

}  // namespace sacvit::detail
