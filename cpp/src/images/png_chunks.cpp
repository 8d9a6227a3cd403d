#include "images/png_chunks.hpp"

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "images/png_text.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr std::size_t kSignature = 8;  // bytes
constexpr int kPalette = 3;            // the colour type

std::uint32_t number(std::string_view data, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        value = value << 8 | static_cast<std::uint8_t>(data[at + i]);
    }
    return value;
}

struct Chunk {
    std::string_view kind;
    std::string_view body;  // as far as the file has it
    bool whole = true;
    std::optional<std::uint32_t> sum;
};

bool is_right(const Chunk& chunk) {
    const auto bytes = [](std::string_view text) { return reinterpret_cast<const Bytef*>(text.data()); };
    const auto sum = crc32_z(crc32_z(0, bytes(chunk.kind), chunk.kind.size()), bytes(chunk.body), chunk.body.size());
    return chunk.sum && *chunk.sum == sum;
}

// Whether PNG has this combination, the bits of a sample and what the samples are.
bool is_known(int depth, int color) {
    const bool small = depth == 1 || depth == 2 || depth == 4;
    return color == 0   ? small || depth == 8 || depth == 16
           : color == 3 ? small || depth == 8
                        : (color == 2 || color == 4 || color == 6) && (depth == 8 || depth == 16);
}

class Reader {
public:
    Reader(std::string_view data, const std::string& name) : rest_(data.substr(kSignature)), name_(name) {}

    PngChunks read() {
        Chunk pixels = read_head();
        const bool several = frames_ && *frames_ + (now_.framed ? 0 : 1) > 1;
        read_pixels(std::move(pixels));
        PngChunks out = now_;
        read_tail(several);
        // Nothing else counts behind the pixels.
        out.keyed = now_.keyed;
        out.key = now_.key;
        out.exif = texts_.exif();
        out.xmp = texts_.xmp();
        return out;
    }

private:
    [[noreturn]] void damaged(const char* what) const {
        fail(ErrorCode::image, name_, " is damaged or truncated (", what, ")");
    }

    // The next chunk; nothing where there is no header of one.
    std::optional<Chunk> next() {
        const auto is_letter = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        };
        Chunk out;
        out.kind = rest_.size() < 8 ? std::string_view() : rest_.substr(4, 4);
        if (out.kind.empty() || !std::all_of(out.kind.begin(), out.kind.end(), is_letter)) {
            return std::nullopt;
        }
        const std::size_t length = number(rest_, 0);
        out.body = rest_.substr(8, length);
        out.whole = out.body.size() == length;
        rest_.remove_prefix(8 + out.body.size());
        if (rest_.size() >= 4) {
            out.sum = number(rest_, 0);
        }
        rest_.remove_prefix(std::min<std::size_t>(rest_.size(), 4));
        return out;
    }

    // Takes what stands before the pixels, whose checksums must be right; returns the first chunk of pixels.
    Chunk read_head() {
        for (;;) {
            std::optional<Chunk> chunk = next();
            if (!chunk || chunk->kind == "IEND" || (now_.color < 0 && chunk->kind == "fdAT")) {
                damaged("it has no pixels");
            }
            // In front of a header, pixels are none to Python.
            if (now_.color >= 0 && (chunk->kind == "IDAT" || chunk->kind == "fdAT")) {
                return *chunk;
            }
            take(*chunk);
            if (!is_right(*chunk)) {
                damaged("a wrong checksum");
            }
        }
    }

    // Takes the chunks of pixels that follow each other, whatever their checksums.
    void read_pixels(std::optional<Chunk> chunk) {
        for (;;) {
            if (chunk->kind == "fdAT") {
                take_number(chunk->body);
                chunk->body.remove_prefix(4);
            }
            now_.pixels.push_back(chunk->body);
            now_.cut = !chunk->whole;
            const std::string_view before = rest_;
            chunk = next();
            if (!chunk || (chunk->kind != "IDAT" && chunk->kind != "DDAT" && chunk->kind != "fdAT")) {
                rest_ = before;
                return;
            }
        }
    }

    // Takes what stands behind the pixels, up to the next frame. A file may end here.
    void read_tail(bool several) {
        for (std::optional<Chunk> chunk = next(); chunk && chunk->kind != "IEND"; chunk = next()) {
            if (chunk->kind == "fcTL" && several) {
                return;
            }
            if (chunk->kind == "fdAT") {
                take_number(chunk->body);
            }
            take(*chunk);
        }
    }

    void take(const Chunk& chunk) {
        if (!chunk.whole) {
            damaged("it ends within a chunk");
        }
        const std::string_view kind = chunk.kind, body = chunk.body;
        const char* wrong = nullptr;
        if (kind == "IHDR") {
            take_header(body);
        } else if (kind == "PLTE" && now_.color == kPalette) {
            now_.palette = body;
        } else if (kind == "tRNS") {
            take_key(body);
        } else if (kind == "tEXt") {
            wrong = texts_.add_plain(body);
        } else if (kind == "zTXt") {
            wrong = texts_.add_packed(body);
        } else if (kind == "iTXt") {
            wrong = texts_.add_international(body);
        } else if (kind == "eXIf") {
            texts_.add_exif(body);
        } else if (kind == "iCCP") {
            wrong = check_profile(body);
        } else if (kind == "acTL") {
            need(body, 8);
            const std::uint32_t count = number(body, 0);
            const bool usable = !frames_ && count > 0 && count <= 0x8000'0000u;
            frames_ = usable ? std::optional<std::uint64_t>(count) : frames_ ? std::nullopt : frames_;
        } else if (kind == "fcTL") {
            take_frame(body);
        } else {
            need(body, kind == "gAMA" ? 4 : kind == "cHRM" ? 32 : kind == "sRGB" ? 1 : kind == "pHYs" ? 9 : 0);
        }
        if (wrong != nullptr) {
            damaged(wrong);
        }
    }

    void need(std::string_view body, std::size_t least) const {
        if (body.size() < least) {
            damaged("a chunk that is too short");
        }
    }

    void take_header(std::string_view body) {
        need(body, 13);
        now_.width = number(body, 0);
        now_.height = number(body, 4);
        const int depth = static_cast<std::uint8_t>(body[8]), color = static_cast<std::uint8_t>(body[9]);
        if (is_known(depth, color)) {
            now_.depth = depth;
            now_.color = color;
        }
        if (body[11] != 0) {
            damaged("an unknown filter method");
        }
        now_.interlaced = now_.interlaced || body[12] != 0;
    }

    void take_key(std::string_view body) {
        if (now_.color != 0 && now_.color != 2 && now_.color != kPalette) {
            return;
        }
        need(body, now_.color == 0 ? 2 : now_.color == 2 ? 6 : 0);
        now_.keyed = true;
        now_.key = body;
    }

    void take_frame(std::string_view body) {
        need(body, 26);
        const std::uint32_t expected = sequence_ ? *sequence_ + 1 : 0;
        if (number(body, 0) != expected) {
            damaged("frames out of order");
        }
        sequence_ = expected;
        now_.across = number(body, 4);
        now_.down = number(body, 8);
        now_.left = number(body, 12);
        now_.top = number(body, 16);
        if (now_.left + now_.across > now_.width || now_.top + now_.down > now_.height) {
            damaged("a frame outside of the image");
        }
        now_.framed = true;
    }

    // Counts the chunk of a frame's pixels that begins with its number.
    void take_number(std::string_view body) {
        need(body, 4);
        if (!sequence_ || number(body, 0) != *sequence_ + 1) {
            damaged("frames out of order");
        }
        ++*sequence_;
    }

    const char* check_profile(std::string_view body) const {
        const std::size_t end = body.find('\0');
        // Without a name, the first byte is taken for the compression.
        const std::size_t at = end == body.npos ? 0 : end + 1;
        if (at >= body.size() || body[at] != 0) {
            return "a colour profile of unknown compression";
        }
        return !unpack(body.substr(at + 1)).too_large ? nullptr : "a colour profile that unpacks to more than 1 MB";
    }

    std::string_view rest_;
    const std::string& name_;
    PngChunks now_;
    PngTexts texts_;
    std::optional<std::uint64_t> frames_;    // of an animation
    std::optional<std::uint32_t> sequence_;  // the number of the last chunk of a frame
};

}  // namespace

PngChunks read_chunks(std::string_view data, const std::string& name) { return Reader(data, name).read(); }

}  // namespace sacvit::detail
