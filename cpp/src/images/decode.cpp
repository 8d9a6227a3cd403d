#include "images/decode.hpp"

#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {

Image decode_file(const std::string& path) { return decode_bytes(read_file(path, ErrorCode::image, kMaxFile), path); }

Image decode_bytes(std::string_view data, const std::string& name) {
    if (data.empty()) {
        fail(ErrorCode::image, name, " is empty");
    }
    if (data.substr(0, 3) == "\xFF\xD8\xFF") {
        return decode_jpeg(data, name);
    }
    if (data.substr(0, 8) == "\x89PNG\r\n\x1a\n") {
        return decode_png(data, name);
    }
    fail(ErrorCode::image, name, " is not an image in a supported format (JPEG, PNG)");
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
