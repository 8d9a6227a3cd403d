// Files: opened, read and mapped, closed by their destructors.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sacvit::detail {

// An open file, for reading. Throws std::system_error.
class File {
public:
    explicit File(const std::string& path);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    int descriptor() const { return descriptor_; }
    std::size_t size() const;
    // At most `limit` bytes from the start on.
    std::string read(std::size_t limit) const;

private:
    int descriptor_;
};

// A file's bytes, shared with everybody who maps it.
class MappedFile {
public:
    explicit MappedFile(const std::string& path);
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

// What the system says of an error number.
std::string reason(int error);

}  // namespace sacvit::detail
