#include "decode.hpp"

#include <cerrno>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"

namespace sacvit::detail {

Picture decode_file(const std::string& path) {
    std::string data;
    try {
        data = File(path).read(kMaxFile + 1);
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) {
            fail(ErrorCode::image, path, " does not exist");
        }
        fail(ErrorCode::image, "can't read ", path, ": ", reason(error.code().value()));
    }
    if (data.size() > kMaxFile) {
        fail(ErrorCode::image, path, " is larger than ", kMaxFile >> 20, " MB, the limit for a picture file");
    }
    return decode_bytes(data, path);
}

Picture decode_bytes(std::string_view data, const std::string& name) {
    if (data.empty()) {
        fail(ErrorCode::image, name, " is empty");
    }
    if (data.substr(0, 3) == "\xFF\xD8\xFF") {
        return decode_jpeg(data, name);
    }
    if (data.substr(0, 8) == "\x89PNG\r\n\x1a\n") {
        return decode_png(data, name);
    }
    fail(ErrorCode::image, name, " is not a picture in a supported format (JPEG, PNG)");
}

void check_size(std::int64_t width, std::int64_t height, const std::string& name) {
    if (width < 1 || height < 1) {
        fail(ErrorCode::image, name, " has no pixels (", width, "x", height, ")");
    }
    if (width > kMaxPixels || height > kMaxPixels || width * height > kMaxPixels) {
        fail(ErrorCode::image, name, " has ", width, "x", height, " pixels, over the limit of 100,000,000");
    }
}

}  // namespace sacvit::detail
