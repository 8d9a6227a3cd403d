// Opening a bundle: nothing reaches a backend before its hash is checked, and a backend gets bytes, not paths.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "bundle/held.hpp"
#include "config.hpp"

namespace sacvit::detail {

// Reads an entry of a file called `document`. Throws Error (bundle, usage), or what the JSON library throws.
FileEntry parse_entry(const nlohmann::ordered_json& data, const std::string& document);

// One precision: files by role (`ee`, `sac`, `weights`; `ee-gpu` and so on, engines laid out for a GPU), and a default
// eta where it differs from the bundle's.
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

// An open bundle: manifest and labels are checked, engine files are read and checked when a variant is asked for.
struct Bundle {
    std::string path;
    Manifest manifest;
    std::vector<std::string> labels;

    // The default eta of a variant that the bundle has.
    double eta_of(const std::string& precision) const;
    // A variant. Throws Error (bundle) if the bundle doesn't have it.
    const Variant& variant(const std::string& precision) const;
    // A variant's files of these roles, if it has them, held; size and hash of its other files are checked, too.
    // `for_gpu`: the engines laid out for a GPU, where the variant has them, for ONNX Runtime's CUDA provider alone.
    // Throws Error (bundle).
    HeldFiles hold(const std::string& precision, const std::set<std::string>& roles = {"ee", "sac", "weights"},
                   bool for_gpu = false) const;
};

// Opens the bundle folder at `path`, and does with it what `use` does, which is the time to hold its files: both happen
// again where the bundle is replaced in between. Throws Error (bundle), and what `use` throws.
Bundle open_bundle(const std::string& path, const std::function<void(const Bundle&)>& use = {});

}  // namespace sacvit::detail
