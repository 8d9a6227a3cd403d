#include "files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace sacvit::detail {
namespace {

[[noreturn]] void raise() { throw std::system_error(errno, std::generic_category()); }

}  // namespace

File::File(const std::string& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
        raise();
    }
}

File::~File() { ::close(descriptor_); }

std::size_t File::size() const {
    struct stat found {};
    if (::fstat(descriptor_, &found) != 0) {
        raise();
    }
    return static_cast<std::size_t>(found.st_size);
}

std::string File::read(std::size_t limit) const {
    std::string out;
    constexpr std::size_t chunk = 1 << 20;
    while (out.size() < limit) {
        const std::size_t have = out.size();
        // A plain file is read in one piece, and one more call finds its end.
        const std::size_t left = std::max<std::size_t>(have < size() ? size() - have : 0, have ? chunk : 4096);
        out.resize(have + std::min({left, limit - have, std::size_t{256} << 20}));
        const ssize_t got = ::read(descriptor_, &out[have], out.size() - have);
        out.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            raise();
        }
    }
    return out;
}

MappedFile::MappedFile(const std::string& path) {
    const File file(path);
    size_ = file.size();
    if (size_ == 0) {
        return;  // an empty range can't be mapped
    }
    // Private and writable: the inference library takes no pointers to constant memory, though it only reads.
    data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor(), 0);
    if (data_ == MAP_FAILED) {
        raise();
    }
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) {
        ::munmap(data_, size_);
    }
}

void MappedFile::release() const {
    if (data_ != nullptr) {
        ::madvise(data_, size_, MADV_DONTNEED);
    }
}

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace sacvit::detail
