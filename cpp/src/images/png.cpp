// PNG by libpng, which gets nothing but the header and the pixels.
#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include <png.h>

#include "images/decode.hpp"
#include "images/png_chunks.hpp"
#include "images/png_samples.hpp"
#include "images/png_text.hpp"
#include "images/upright.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

constexpr std::string_view kSum("\0\0\0\0", 4);  // a checksum that is ignored
constexpr std::string_view kEnd("\0\0\0\0IEND\0\0\0\0", 12);

struct Reader {
    png_structp png = nullptr;
    png_infop info = nullptr;
    std::string head;                     // chunks in front of the pixels
    std::vector<std::string> marks;       // in front of each piece of pixels
    std::vector<std::string_view> spans;  // all that libpng reads
    std::size_t span = 0;                 // where it is
    std::int64_t rows = 0, all_rows = 0;  // decoded, and of all passes
    std::size_t last = 0;                 // the span in which the last row ended
    char message[200] = "";

    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
    auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
    std::strncpy(reader->message, message, sizeof reader->message - 1);
    png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_row(png_structp png, png_row_infop, png_bytep) {
    auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
    if (++reader->rows == reader->all_rows) {
        reader->last = reader->span;
    }
}

void read_data(png_structp png, png_bytep to, std::size_t count) {
    auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
    while (count > 0) {
        while (reader->span < reader->spans.size() && reader->spans[reader->span].empty()) {
            ++reader->span;
        }
        if (reader->span == reader->spans.size()) {
            png_error(png, "the file ends too early");
        }
        std::string_view& from = reader->spans[reader->span];
        const std::size_t step = std::min(count, from.size());
        std::memcpy(to, from.data(), step);
        from.remove_prefix(step);
        to += step;
        count -= step;
    }
}

std::string big_endian(std::size_t value) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) {
        out += static_cast<char>(value >> shift & 0xFF);
    }
    return out;
}

// Gives libpng nothing but a header and pixels, with checksums that it ignores. What else the file says, read_chunks
// has read.
void set_input(Reader& reader, const PngChunks& chunks, int width, int height) {
    reader.head = "\x89PNG\r\n\x1a\n" + big_endian(13) + "IHDR" + big_endian(static_cast<std::size_t>(width)) +
                  big_endian(static_cast<std::size_t>(height));
    for (const int byte : {chunks.depth, chunks.color, 0, 0, chunks.interlaced ? 1 : 0}) {
        reader.head += static_cast<char>(byte);
    }
    reader.head += kSum;
    if (chunks.color == PNG_COLOR_TYPE_PALETTE) {
        reader.head += big_endian(3) + "PLTE" + std::string(3, '\0') + std::string(kSum);
    }
    reader.spans.push_back(reader.head);
    reader.marks.reserve(chunks.pixels.size());
    for (const std::string_view piece : chunks.pixels) {
        reader.marks.push_back(big_endian(piece.size()) + "IDAT");
        reader.spans.insert(reader.spans.end(), {reader.marks.back(), piece, kSum});
    }
    reader.spans.push_back(kEnd);
}

// Runs calls of libpng; false, with a message, where one of them fails. A failure jumps out of `body`, which must not
// hold anything with a destructor.
template <typename Body>
bool attempt(Reader& reader, const Body& body) {
    if (setjmp(png_jmpbuf(reader.png))) {
        return false;
    }
    body();
    return true;
}

// Reads the header and prepares for rows as stored, one byte for each sample, two for 16-bit grey.
bool start(Reader& reader) {
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png == nullptr ? nullptr : png_create_info_struct(reader.png);
    if (reader.info == nullptr) {
        throw std::bad_alloc();
    }
    return attempt(reader, [&] {
        png_set_read_fn(reader.png, &reader, read_data);
        png_set_user_limits(reader.png, 0x7FFFFFFF, 0x7FFFFFFF);  // check_size sets the limit
        png_set_chunk_malloc_max(reader.png, 0);                  // only pixels come, which are not kept
        png_set_crc_action(reader.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
        png_set_benign_errors(reader.png, 1);
        png_set_option(reader.png, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);  // a header may state too little
        png_read_info(reader.png, reader.info);
        png_set_packing(reader.png);
        if (png_get_bit_depth(reader.png, reader.info) == 16 &&
            png_get_color_type(reader.png, reader.info) != PNG_COLOR_TYPE_GRAY) {
            png_set_strip_16(reader.png);
        }
        png_set_read_user_transform_fn(reader.png, on_row);
        png_set_interlace_handling(reader.png);
        png_read_update_info(reader.png, reader.info);
    });
}

// The rows of all passes of an image.
std::int64_t count_rows(const PngChunks& chunks, int width, int height) {
    std::int64_t rows = 0;
    for (int pass = 0; chunks.interlaced && pass < PNG_INTERLACE_ADAM7_PASSES; ++pass) {
        rows += PNG_PASS_COLS(width, pass) > 0 ? PNG_PASS_ROWS(height, pass) : 0;
    }
    return chunks.interlaced ? rows : height;
}

// Whether the pixels' stream ends as it should, behind a row that is not the last one.
bool ends_with_row(const PngChunks& chunks, int width, int height) {
    std::int64_t size = 0;
    if (!unpacked_size(chunks.pixels, size) || size == 0) {
        return false;
    }
    const int channels = chunks.color == 2 ? 3 : chunks.color == 4 ? 2 : chunks.color == 6 ? 4 : 1;
    for (int pass = 0; size > 0 && pass < (chunks.interlaced ? PNG_INTERLACE_ADAM7_PASSES : 1); ++pass) {
        const std::int64_t columns = chunks.interlaced ? PNG_PASS_COLS(width, pass) : width;
        const std::int64_t lines = columns == 0 ? 0 : chunks.interlaced ? PNG_PASS_ROWS(height, pass) : height;
        const std::int64_t bytes = 1 + (columns * channels * chunks.depth + 7) / 8;
        if (size < lines * bytes) {
            return size % bytes == 0;
        }
        size -= lines * bytes;
    }
    return size == 0;
}

// What decoding takes, in bytes: as Python estimates it, so that both refuse the same images, or more.
std::size_t estimate(const PngChunks& chunks, std::size_t file) {
    constexpr std::size_t kTexts = 64 << 20;
    const auto width = static_cast<std::size_t>(chunks.width), height = static_cast<std::size_t>(chunks.height);
    const std::size_t pixels = width * height;
    const std::size_t channels = chunks.color == 2 ? 3 : chunks.color == 4 ? 2 : chunks.color == 6 ? 4 : 1;
    const bool grey = chunks.color == 0 || chunks.color == 4;
    const std::size_t sample = channels * (chunks.depth == 16 ? 2 : 1);
    const std::size_t theirs = stored(width, height, channels > 1 ? 4 : sample);
    const bool kept = chunks.interlaced || chunks.framed;
    // libpng has two rows, and a third is converted.
    const std::size_t ours =
        pixels * ((grey ? 1 : 3) + (kept ? sample : 0)) + 3 * width * sample + (kept ? height * sizeof(png_bytep) : 0);
    return beside_pixels(chunks.width, chunks.height, file) + kTexts + std::max(theirs, ours);
}

}  // namespace

Image decode_png(std::string_view data, const std::string& name, Share& share) {
    const PngChunks chunks = read_chunks(data, name);
    check_size(chunks.width, chunks.height, name, share.limits().pixels);
    share.take(estimate(chunks, data.size()), chunks.width, chunks.height, name);
    const PngSamples stored = describe(chunks, name);
    const auto width = static_cast<int>(chunks.width), height = static_cast<int>(chunks.height);
    const int across = chunks.framed ? static_cast<int>(chunks.across) : width;
    const int down = chunks.framed ? static_cast<int>(chunks.down) : height;
    // An interlaced frame begins in the corner, as Python has it.
    const bool moved = chunks.framed && !chunks.interlaced;
    const int left = moved ? static_cast<int>(chunks.left) : 0, top = moved ? static_cast<int>(chunks.top) : 0;
    Reader reader;
    const auto damaged = [&](const char* what) {
        fail(ErrorCode::image, name, " is damaged or truncated (", what, ")");
    };
    if (across < 1 || down < 1) {
        damaged("an empty frame");
    }
    set_input(reader, chunks, across, down);
    if (!start(reader)) {
        damaged(reader.message);
    }
    reader.all_rows = count_rows(chunks, across, down);
    const bool grey = stored.color == PNG_COLOR_TYPE_GRAY || stored.color == PNG_COLOR_TYPE_GRAY_ALPHA;
    Upright image(width, height, grey ? 1 : 3, orientation(chunks.exif, chunks.xmp));
    const std::size_t stride = png_get_rowbytes(reader.png, reader.info) / static_cast<std::size_t>(across);
    const std::size_t pitch = stride * static_cast<std::size_t>(width);
    const bool whole = chunks.interlaced || across < width || down < height;
    // What a frame leaves out is zero.
    std::vector<std::uint8_t> pixels(whole ? pitch * static_cast<std::size_t>(height) : pitch);
    const auto convert = [&](const std::uint8_t* from, int y) {
        convert_row(stored, from, image.row(y), width);
        image.done(y);
    };
    std::vector<png_bytep> rows;
    rows.reserve(whole ? static_cast<std::size_t>(down) : 0);
    for (int y = 0; whole && y < down; ++y) {
        rows.push_back(pixels.data() + pitch * static_cast<std::size_t>(top + y) +
                       stride * static_cast<std::size_t>(left));
    }
    const bool complete = attempt(reader, [&] {
        if (whole) {
            png_read_image(reader.png, rows.data());
            return;
        }
        for (int y = 0; y < height; ++y) {
            png_read_row(reader.png, pixels.data(), nullptr);
            convert(pixels.data(), y);
        }
    });
    // An error behind the last row is none of the pixels'. Where the stream ends with a row, the rest is zero.
    if (!complete && reader.rows < reader.all_rows) {
        if (std::strcmp(reader.message, "Not enough image data") != 0 || !ends_with_row(chunks, across, down)) {
            damaged(reader.message);
        }
        reader.last = reader.span;
    }
    if (chunks.cut && chunks.pixels.size() > 1 && reader.last + 3 < reader.spans.size()) {
        damaged("it ends within a chunk");
    }
    if (!whole && !complete && reader.rows == height) {
        convert(pixels.data(), height - 1);  // which is where it ended
    }
    std::fill(pixels.begin(), whole ? pixels.begin() : pixels.end(), std::uint8_t{0});
    for (int y = static_cast<int>(reader.rows); !whole && y < height; ++y) {
        convert(pixels.data(), y);
    }
    for (int y = 0; whole && y < height; ++y) {
        convert(pixels.data() + pitch * static_cast<std::size_t>(y), y);
    }
    return image.take();
}

}  // namespace sacvit::detail
