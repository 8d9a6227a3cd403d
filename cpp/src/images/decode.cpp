#include "images/decode.hpp"

#include <filesystem>
#include <system_error>

#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {

namespace {

constexpr std::uintmax_t kLarge =
    8 << 20;  // bytes of a file that is only read with all that an image may take set aside

}  // namespace

Image decode_file(const std::string& path, Share& share) {
    std::error_code error;
    if (const auto size = std::filesystem::file_size(path, error); !error && size > kLarge) {
        share.take_all();
    }
    return decode_bytes(read_file(path, ErrorCode::image, kMaxFile), path, share);
}

Image decode_bytes(std::string_view data, const std::string& name, Share& share) {
    if (data.empty()) {
        fail(ErrorCode::image, name, " is empty");
    }
    if (data.substr(0, 3) == "\xFF\xD8\xFF") {
        return decode_jpeg(data, name, share);
    }
    if (data.substr(0, 8) == "\x89PNG\r\n\x1a\n") {
        return decode_png(data, name, share);
    }
    fail(ErrorCode::image, name, " is not an image in a supported format (JPEG, PNG)");
}

void check_size(std::int64_t width, std::int64_t height, const std::string& name, std::int64_t limit) {
    if (width < 1 || height < 1) {
        fail(ErrorCode::image, name, " has no pixels (", width, "x", height, ")");
    }
    if (width > limit || height > limit || width * height > limit) {
        fail(ErrorCode::image, name, " has ", width, "x", height, " pixels, over the limit of ", limit,
             "; --max-pixels (Options::max_pixels) raises it");
    }
}

}  // namespace sacvit::detail
