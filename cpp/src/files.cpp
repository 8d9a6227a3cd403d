#include "files.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <system_error>

#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr std::size_t kHashBytes = 32;

[[noreturn]] void refuse(const std::string& path, ErrorCode code, int error = errno) {
    if (error == ENOENT) {
        fail(code, path, " does not exist");
    }
    fail(code, "can't read ", path, ": ", std::generic_category().message(error));
}

}  // namespace

File::File(const std::string& path, ErrorCode code)
    : path_(path), code_(code), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
        refuse(path_, code_);
    }
}

File::~File() { ::close(descriptor_); }

std::size_t File::size() const {
    struct stat status{};
    if (::fstat(descriptor_, &status) != 0) {
        refuse(path_, code_);
    }
    return static_cast<std::size_t>(status.st_size);
}

std::size_t File::read(char* to, std::size_t count) const {
    for (;;) {
        const ssize_t got = ::read(descriptor_, to, count);
        if (got >= 0) {
            return static_cast<std::size_t>(got);
        }
        if (errno != EINTR) {
            refuse(path_, code_);
        }
    }
}

std::string File::sha256() const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
        throw std::bad_alloc();
    }
    std::vector<char> chunk(1 << 20);
    while (const std::size_t got = read(chunk.data(), chunk.size())) {
        EVP_DigestUpdate(context.get(), chunk.data(), got);
    }
    std::string out(kHashBytes, '\0');
    EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr);
    return hex(out);
}

std::string sha256(std::string_view value) {
    std::string out(kHashBytes, '\0');
    auto* const to = reinterpret_cast<unsigned char*>(out.data());
    if (EVP_Digest(value.data(), value.size(), to, nullptr, EVP_sha256(), nullptr) != 1) {
        throw std::bad_alloc();
    }
    return hex(out);
}

std::string read_file(const std::string& path, ErrorCode code, std::size_t limit) {
    const File file(path, code);
    // A plain file is read in one piece and one call more, which finds its end; a pipe in pieces.
    std::size_t piece = std::min(file.size() + 1, std::size_t{256} << 20);
    std::string out;
    for (std::size_t size = 0;; piece = std::size_t{1} << 20) {
        out.resize(size + piece);
        const std::size_t got = file.read(&out[size], piece);
        size += got;
        if (size > limit) {
            fail(code, path, " is larger than ", limit >> 20, " MB, the limit for such a file");
        }
        if (got == 0) {
            out.resize(size);
            return out;
        }
    }
}

MappedFile::MappedFile(const std::string& path, ErrorCode code) {
    const File file(path, code);
    size_ = file.size();
    if (size_ == 0) {
        return;  // an empty range can't be mapped
    }
    // Private and writable: the inference library takes no pointers to constant memory, though it only reads.
    void* const data =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor(), 0);
    if (data == MAP_FAILED) {
        refuse(path, code);
    }
    data_ = data;
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

}  // namespace sacvit::detail
