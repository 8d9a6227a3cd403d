// Files: opened, read and hashed, closed by their destructors. An error has the code that the caller names.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "sacvit/sacvit.hpp"

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace sacvit::detail {

// A regular file open for reading. Throws Error where it is missing, can't be read, or is of another kind: a pipe would
// keep its reader waiting.
class File {
public:
    File(const std::string& path, ErrorCode code);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::size_t size() const { return size_; }  // bytes, when it was opened
    // Reads on, at most `count` bytes; returns how many it got, 0 at the end.
    std::size_t read(char* to, std::size_t count) const;

private:
    std::string path_;
    ErrorCode code_;
    int descriptor_;
    std::size_t size_ = 0;
};

// A SHA-256 in the making.
class Sha256 {
public:
    Sha256();
    void add(std::string_view bytes);
    std::string hex();  // of all bytes; called once

private:
    std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

// The SHA-256 of a text, in hexadecimal.
std::string sha256(std::string_view value);

// A whole file of at most `limit` bytes. Throws Error (code) where it is missing, larger, or can't be read.
std::string read_file(const std::string& path, ErrorCode code, std::size_t limit);

// Bytes in memory pages of their own, zeros at first. Throws std::bad_alloc.
class Pages {
public:
    explicit Pages(std::size_t size);
    ~Pages();
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    char* data() const { return static_cast<char*>(data_); }
    std::size_t size() const { return size_; }

private:
    void* data_ = nullptr;
    std::size_t size_;
};

}  // namespace sacvit::detail
