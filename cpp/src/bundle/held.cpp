#include "bundle/held.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunk = 1 << 20;  // bytes between two steps of the hash, few enough for the cache

// Reads a file to its end and checks it on the way. Its bytes go to what `room` returns for their number, or nowhere
// where that is null.
template <typename Room>
void read_checked(const std::string& path, const FileEntry& entry, const std::string& remedy, const Room& room) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
        fail(ErrorCode::bundle, path, " is missing; ", remedy);
    }
    const File file(path, ErrorCode::bundle);
    const auto expected = static_cast<std::size_t>(entry.bytes);
    const auto wrong_size = [&](std::size_t size) {
        fail(ErrorCode::bundle, path, " has ", size, " bytes instead of ", expected, "; ", remedy);
    };
    if (file.size() != expected) {
        wrong_size(file.size());
    }
    char* const to = room(expected);
    std::vector<char> scratch(to == nullptr ? kChunk : 1);
    Sha256 hash;
    std::size_t done = 0;
    while (done < expected) {
        char* const here = to == nullptr ? scratch.data() : to + done;
        const std::size_t got = file.read(here, std::min(kChunk, expected - done));
        if (got == 0) {
            wrong_size(done);  // cut since it was opened
        }
        hash.add({here, got});
        done += got;
    }
    if (const std::size_t more = file.read(scratch.data(), 1); more != 0) {
        wrong_size(done + more);
    }
    if (hash.hex() != entry.sha256) {
        fail(ErrorCode::bundle, path, " was changed after it was written (its hash differs); ", remedy);
    }
}

}  // namespace

HeldFile hold_file(const std::string& folder, const FileEntry& entry, const std::string& remedy) {
    const std::string path = (fs::path(folder) / entry.path).string();
    std::shared_ptr<Pages> pages;
    read_checked(path, entry, remedy, [&](std::size_t size) {
        pages = std::make_shared<Pages>(size);
        return pages->data();
    });
    return {path, entry.path, std::move(pages)};
}

void check_file(const std::string& folder, const FileEntry& entry, const std::string& remedy) {
    read_checked((fs::path(folder) / entry.path).string(), entry, remedy, [](std::size_t) -> char* { return nullptr; });
}

bool is_being_replaced(const std::string& path) {
    std::error_code error;
    const fs::path folder = fs::absolute(path, error).lexically_normal();
    const fs::path target = folder.has_filename() ? folder : folder.parent_path();
    const std::string partial = "." + target.filename().string() + ".partial-";  // the writer's name for the new one
    for (fs::directory_iterator at(target.parent_path(), error), end; !error && at != end; at.increment(error)) {
        if (at->path().filename().string().rfind(partial, 0) == 0) {
            return true;
        }
    }
    return false;
}

}  // namespace sacvit::detail
