// Files: opened, read, hashed and mapped, closed by their destructors. An error has the code that the caller names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// A file open for reading. Throws Error where it is missing or can't be read.
class File {
public:
    File(const std::string& path, ErrorCode code);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    int descriptor() const { return descriptor_; }
    std::size_t size() const;  // bytes; 0 for a pipe
    // Reads on, at most `count` bytes; returns how many it got, 0 at the end.
    std::size_t read(char* to, std::size_t count) const;
    std::string sha256() const;  // in hexadecimal, of what is not read yet

private:
    std::string path_;
    ErrorCode code_;
    int descriptor_;
};

// The SHA-256 of a text, in hexadecimal.
std::string sha256(std::string_view value);

// A whole file of at most `limit` bytes. Throws Error (code) where it is missing, larger, or can't be read.
std::string read_file(const std::string& path, ErrorCode code, std::size_t limit = std::size_t{1} << 40);

// A file's bytes, whose memory all processes that map it share. Throws Error (code).
class MappedFile {
public:
    MappedFile(const std::string& path, ErrorCode code);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
    void* data() const { return data_; }
    // Gives back the memory; the next reader gets the bytes from the file again.
    void release() const;

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace sacvit::detail
