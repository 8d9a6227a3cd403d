// A bundle's files, held: each is read once into memory and hashed on the way, and engines are made from those bytes.
// What happens to the file later, replaced, overwritten, cut or deleted, changes no answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "files.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// One file of the bundle: a plain name in its folder, its SHA-256 and its size in bytes.
struct FileEntry {
    std::string path;
    std::string sha256;
    std::int64_t bytes = 0;
};

struct HeldFile {
    std::string path;  // for messages
    std::string name;  // without its folder
    std::shared_ptr<const Pages> pages;

    std::string_view bytes() const { return {pages->data(), pages->size()}; }
};

using HeldFiles = std::map<std::string, HeldFile>;  // by role

// Reads a file of `folder`, checking its size and hash; `remedy` ends the error's sentence. Throws Error (bundle).
HeldFile hold_file(const std::string& folder, const FileEntry& entry, const std::string& remedy);

// Checks the size and hash of a file that nobody will read. Throws Error (bundle).
void check_file(const std::string& folder, const FileEntry& entry, const std::string& remedy);

// Whether somebody is about to put another folder into the place of `path`: between two renames it is not there.
bool is_being_replaced(const std::string& path);

// Whether `read` gives something else than `before` now, or is likely to in a moment. `path` is the bundle's folder.
template <typename Read, typename Content>
bool was_replaced(const std::string& path, const Read& read, const Content& before) {
    try {
        return read() != before;
    } catch (const Error&) {
        if (!is_being_replaced(path)) {
            return false;
        }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return true;
}

// Reads by `read`, and does with it what `use` does. Where either fails with Error (bundle) while a writer replaces the
// files, starts over with the new ones, a bounded number of times: the answer is of the old files or of the new.
template <typename Read, typename Use>
auto despite_writers(const std::string& path, const Read& read, const Use& use) {
    constexpr int kAttempts = 50;
    for (int attempt = 1;; ++attempt) {
        decltype(read()) content{};
        try {
            content = read();
            return use(content);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::bundle || attempt == kAttempts || !was_replaced(path, read, content)) {
                throw;
            }
        }
    }
}

}  // namespace sacvit::detail
