#include "bundle/sha256.hpp"

#include <openssl/evp.h>

#include <memory>
#include <new>

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

std::string sha256_of_file(const File& file) {
    Digest digest;
    std::vector<char> chunk(1 << 20);
    while (const std::size_t got = file.read(chunk.data(), chunk.size())) {
        digest.add(chunk.data(), got);
    }
    return digest.hex();
}

}  // namespace sacvit::detail
