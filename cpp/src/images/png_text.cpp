#include "images/png_text.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>

namespace sacvit::detail {
namespace {

constexpr std::size_t kMaxText = 1 << 20;    // bytes, unpacked
constexpr std::size_t kMaxTexts = 64 << 20;  // characters of all texts
constexpr char kProfile[] = "Raw profile type exif";
constexpr char kXmp[] = "XML:com.adobe.xmp";
constexpr const char* kTooLarge = "a text that unpacks to more than 1 MB";

// The number of characters in UTF-8; nothing for other bytes.
std::optional<std::size_t> utf8_length(std::string_view value) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < value.size(); ++count) {
        const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(value[at + i]); };
        const unsigned first = byte(0);
        const std::size_t size = first < 0x80   ? 1
                                 : first < 0xC2 ? 0
                                 : first < 0xE0 ? 2
                                 : first < 0xF0 ? 3
                                 : first < 0xF5 ? 4
                                                : 0;
        if (size == 0 || value.size() - at < size) {
            return std::nullopt;
        }
        for (std::size_t i = 1; i < size; ++i) {
            // No longer forms of short characters, no surrogates, nothing behind U+10FFFF.
            const unsigned least = i > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
            const unsigned most = i > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
            if (byte(i) < least || byte(i) > most) {
                return std::nullopt;
            }
        }
        at += size;
    }
    return count;
}

// Splits at the first zero byte; false where there is none.
bool split(std::string_view& rest, std::string_view& head) {
    const std::size_t at = rest.find('\0');
    head = rest.substr(0, at);
    rest.remove_prefix(at == rest.npos ? rest.size() : at + 1);
    return at != rest.npos;
}

// The bytes that the lines behind the third have in hexadecimal; "?", which is no EXIF block, where they have none.
std::string from_profile(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
        const std::size_t at = text.find('\n');
        text.remove_prefix(at == text.npos ? text.size() : at + 1);
    }
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    std::string digits, out;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != '\n'; });
    for (std::size_t at = 0; at < digits.size(); ++at) {
        if (std::string_view(" \t\r\v\f").find(digits[at]) != std::string_view::npos) {
            continue;  // between bytes, not within one
        }
        const int high = digit(digits[at]), low = at + 1 < digits.size() ? digit(digits[at + 1]) : -1;
        if (high < 0 || low < 0) {
            return "?";
        }
        out += static_cast<char>(16 * high + low);
        ++at;
    }
    return out;
}

}  // namespace

Unpacked unpack(std::string_view packed) {
    z_stream stream{};
    if (inflateInit(&stream) != Z_OK) {
        throw std::bad_alloc();
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    std::string out(std::min(kMaxText, 64 + 4 * packed.size()), '\0');
    std::size_t size = 0;
    int status = Z_OK;
    for (;;) {
        stream.next_out = reinterpret_cast<Bytef*>(&out[size]);
        stream.avail_out = static_cast<uInt>(out.size() - size);
        status = inflate(&stream, Z_SYNC_FLUSH);
        size = out.size() - stream.avail_out;
        if (status != Z_OK || stream.avail_out > 0 || out.size() == kMaxText) {
            break;
        }
        out.resize(std::min(kMaxText, 2 * out.size()));
    }
    const bool more = status == Z_OK && stream.avail_in > 0;
    inflateEnd(&stream);
    out.resize(size);
    if (more) {
        return {true, std::nullopt};
    }
    const bool readable = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR;
    return {false, readable ? std::optional(std::move(out)) : std::nullopt};
}

bool unpacked_size(const std::vector<std::string_view>& pieces, std::int64_t& size) {
    z_stream stream{};
    if (inflateInit(&stream) != Z_OK) {
        throw std::bad_alloc();
    }
    Bytef window[1 << 14];
    int status = Z_OK;
    size = 0;
    std::int64_t before = 0;
    for (const std::string_view piece : pieces) {
        before = size;
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
        stream.avail_in = static_cast<uInt>(piece.size());
        do {
            stream.next_out = window;
            stream.avail_out = sizeof window;
            status = inflate(&stream, Z_NO_FLUSH);
            size += static_cast<std::int64_t>(sizeof window - stream.avail_out);
        } while (status == Z_OK && stream.avail_out == 0);
        if (status != Z_OK && status != Z_BUF_ERROR) {
            break;
        }
    }
    inflateEnd(&stream);
    return status == Z_STREAM_END && size > before;
}

const char* PngTexts::count(std::size_t characters) {
    characters_ += characters;
    return characters_ > kMaxTexts ? "more than 64 MB of texts" : nullptr;
}

void PngTexts::keep(std::string_view key, std::string_view value) {
    if (key == kProfile || key == kXmp) {
        kept_.insert_or_assign(std::string(key), std::string(value));
    } else if (key == "exif") {
        exif_ = "?";  // no EXIF block can be text
    }
}

const char* PngTexts::add_plain(std::string_view chunk) {
    std::string_view key;
    split(chunk, key);
    if (key.empty()) {
        return nullptr;
    }
    keep(key, chunk);
    if (key == "exif") {
        exif_ = std::string(chunk);
    }
    return count(chunk.size());
}

const char* PngTexts::add_packed(std::string_view chunk) {
    std::string_view key;
    split(chunk, key);
    if (!chunk.empty() && chunk[0] != 0) {
        return "a zTXt chunk of unknown compression";
    }
    const Unpacked unpacked = unpack(chunk.substr(chunk.empty() ? 0 : 1));
    if (unpacked.too_large) {
        return kTooLarge;
    }
    if (key.empty()) {
        return nullptr;
    }
    const std::string value = unpacked.value.value_or("");
    keep(key, value);
    return count(value.size());
}

const char* PngTexts::add_international(std::string_view chunk) {
    std::string_view key, language, translated;
    if (!split(chunk, key) || chunk.size() < 2) {
        return nullptr;
    }
    const bool packed = chunk[0] != 0, known = chunk[1] == 0;
    chunk.remove_prefix(2);
    if (!split(chunk, language) || !split(chunk, translated)) {
        return nullptr;
    }
    Unpacked unpacked;
    if (packed) {
        if (!known) {
            return nullptr;
        }
        unpacked = unpack(chunk);
        if (!unpacked.value) {
            return unpacked.too_large ? kTooLarge : nullptr;
        }
        chunk = *unpacked.value;
    }
    if (key == kXmp) {
        xmp_ = std::string(chunk);
    }
    const std::optional<std::size_t> length = utf8_length(chunk);
    if (!length || !utf8_length(language) || !utf8_length(translated)) {
        return nullptr;
    }
    keep(key, chunk);
    return count(*length);
}

void PngTexts::add_exif(std::string_view chunk) { exif_ = std::string("Exif\0\0", 6) + std::string(chunk); }

std::string PngTexts::exif() const {
    const auto profile = kept_.find(kProfile);
    return exif_ ? *exif_ : profile == kept_.end() ? std::string() : from_profile(profile->second);
}

std::string PngTexts::xmp() const {
    const auto text = kept_.find(kXmp);
    return text == kept_.end() || text->second.empty() ? xmp_ : text->second;
}

}  // namespace sacvit::detail
