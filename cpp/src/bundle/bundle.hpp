// Opening a bundle: nothing reaches a backend before its hash is checked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace sacvit::detail {

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
