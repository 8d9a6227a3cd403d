#include "files.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

// Without O_NONBLOCK, opening a pipe waits for its writer.
File::File(const std::string& path, ErrorCode code)
    : path_(path), code_(code), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status{};
    if (descriptor_ < 0) {
        refuse(path_, code_);
    }
    const int error = ::fstat(descriptor_, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    if (error == 0 && S_ISREG(status.st_mode)) {
        size_ = static_cast<std::size_t>(status.st_size);
        return;
    }
    ::close(descriptor_);
    if (error != 0) {
        refuse(path_, code_, error);
    }
    fail(code, path, " is no regular file but a pipe, a socket or a device");
}

File::~File() { ::close(descriptor_); }

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

Sha256::Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
        throw std::bad_alloc();
    }
}

void Sha256::add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Sha256::hex() {
    std::string out(kHashBytes, '\0');
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr);
    return detail::hex(out);
}

std::string sha256(std::string_view value) {
    Sha256 hash;
    hash.add(value);
    return hash.hex();
}

std::string read_file(const std::string& path, ErrorCode code, std::size_t limit) {
    const File file(path, code);
    const auto too_large = [&] { fail(code, path, " is larger than ", limit >> 20, " MB, the limit for such a file"); };
    if (file.size() > limit) {
        too_large();
    }
    // Read in one piece and one call more, which finds the end; a file that grows, or one of /proc, in pieces.
    std::size_t piece = file.size() + 1;
    std::string out;
    for (std::size_t size = 0;; piece = std::size_t{1} << 20) {
        out.resize(size + piece);
        const std::size_t got = file.read(&out[size], piece);
        size += got;
        if (size > limit) {
            too_large();
        }
        if (got == 0) {
            out.resize(size);
            return out;
        }
    }
}

Pages::Pages(std::size_t size) : size_(size) {
    if (size == 0) {
        return;  // an empty range can't be mapped
    }
    void* const data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        throw std::bad_alloc();
    }
    data_ = data;
}

Pages::~Pages() {
    if (data_ != nullptr) {
        ::munmap(data_, size_);
    }
}

}  // namespace sacvit::detail
