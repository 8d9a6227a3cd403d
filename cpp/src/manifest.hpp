// manifest.json: what a bundle holds, and the check that nobody changed a byte of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"

namespace sacvit::detail {

// One file of the bundle: a plain name in its folder, its SHA-256 and its size in bytes.
struct FileEntry {
    std::string path;
    std::string sha256;
    std::int64_t bytes = 0;
};

// One precision: files by role (`ee`, `sac`, `weights`), and the gate that is its own.
struct Variant {
    std::map<std::string, FileEntry> files;
    std::optional<double> eta;
};

struct Manifest {
    std::string name;
    Config config;
    double eta = 0;
    FileEntry labels;
    std::vector<std::string> precisions;  // in the manifest's order
    std::map<std::string, Variant> variants;
};

// Reads manifest.json's content. Throws Error (bundle) for damage, changes, and newer schemas.
Manifest parse_manifest(std::string_view raw);

}  // namespace sacvit::detail
