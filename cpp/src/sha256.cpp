#include "sha256.hpp"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>

namespace sacvit::detail {
namespace {

class Digest {
public:
    Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
            throw std::bad_alloc();
        }
    }

    void add(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }

    std::string hex() {
        unsigned char raw[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        EVP_DigestFinal_ex(context_.get(), raw, &size);
        std::string out;
        for (unsigned i = 0; i < size; ++i) {
            out += "0123456789abcdef"[raw[i] >> 4];
            out += "0123456789abcdef"[raw[i] & 15];
        }
        return out;
    }

private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(const std::vector<std::string_view>& parts) {
    Digest digest;
    for (const std::string_view part : parts) {
        digest.add(part.data(), part.size());
    }
    return digest.hex();
}

std::string sha256_of_file(int descriptor) {
    Digest digest;
    std::vector<char> chunk(1 << 20);
    for (;;) {
        const ssize_t got = ::read(descriptor, chunk.data(), chunk.size());
        if (got > 0) {
            digest.add(chunk.data(), static_cast<std::size_t>(got));
        } else if (got == 0) {
            return digest.hex();
        } else if (errno != EINTR) {
            throw std::system_error(errno, std::generic_category());
        }
    }
}

}  // namespace sacvit::detail
