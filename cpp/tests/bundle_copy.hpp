// Copies of a bundle to be changed, in a folder of their own that goes with them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

#include "files.hpp"

using json = nlohmann::ordered_json;

inline std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// A file's entry in a manifest.
inline json entry(const std::string& name, const std::string& bytes) {
    return {{"path", name}, {"sha256", sacvit::detail::sha256(bytes)}, {"bytes", bytes.size()}};
}

// A document with the right digest, as somebody who means harm would write it.
inline std::string sealed(json document) {
    const std::string zeros = "sha256:" + std::string(64, '0');
    document["digest"] = zeros;
    std::string raw = document.dump(1, ' ', false, json::error_handler_t::replace);
    return raw.replace(raw.rfind(zeros) + 7, 64, sacvit::detail::sha256(raw));
}

class Copy {
public:
    explicit Copy(const std::filesystem::path& bundle) {
        std::string name = (std::filesystem::temp_directory_path() / "sacvit-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) {
            throw std::runtime_error("no temporary folder");
        }
        folder = name;
        path = folder / "copy.sacvit";
        std::filesystem::create_directory(path);
        for (const auto& file : std::filesystem::directory_iterator(bundle)) {
            if (file.is_regular_file()) {
                std::filesystem::copy_file(file.path(), path / file.path().filename());
            }
        }
    }
    ~Copy() { std::filesystem::remove_all(folder); }
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;

    void put(const std::string& name, const std::string& bytes) const {
        std::ofstream(path / name, std::ios::binary | std::ios::trunc) << bytes;
    }
    // Changes the manifest and seals it again.
    template <typename Edit>
    void edit(const Edit& edit) const {
        json manifest = json::parse(read(path / "manifest.json"));
        edit(manifest);
        put("manifest.json", sealed(manifest));
    }

    std::filesystem::path folder, path;
};
