// Texts in a PNG: the limits for them, and the orientation that some of them state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

// What a zlib stream unpacks to, as far as the file has it; nothing where it is damaged.
struct Unpacked {
    bool too_large = false;  // more than 1 MB
    std::optional<std::string> value;
};
Unpacked unpack(std::string_view packed);

// Measures what a zlib stream in pieces unpacks to, in bytes; false unless the stream is whole, with more than its end
// in its last piece. It takes no memory.
bool unpacked_size(const std::vector<std::string_view>& pieces, std::int64_t& size);

class PngTexts {
public:
    // The contents of the chunks. Return what is wrong with them, or nullptr.
    const char* add_plain(std::string_view chunk);          // tEXt
    const char* add_packed(std::string_view chunk);         // zTXt
    const char* add_international(std::string_view chunk);  // iTXt
    void add_exif(std::string_view chunk);                  // eXIf

    std::string exif() const;  // of an eXIf chunk, or of a text by ImageMagick
    std::string xmp() const;

private:
    const char* count(std::size_t characters);
    void keep(std::string_view key, std::string_view value);

    std::size_t characters_ = 0;
    std::map<std::string, std::string, std::less<>> kept_;
    std::optional<std::string> exif_;
    std::string xmp_;
};

}  // namespace sacvit::detail
