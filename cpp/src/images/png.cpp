// PNG by libpng. Pixels are converted here, so that every depth and kind of transparency comes out as in Python.
#include <csetjmp>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <png.h>

#include "images/decode.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

struct Reader {
    png_structp png = nullptr;
    png_infop info = nullptr;
    std::string_view rest;  // not read yet
    char message[200] = "";
    std::vector<std::uint8_t> pixels;  // as stored: one byte for each sample, two for 16-bit grey
    std::vector<png_bytep> rows;

    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
    auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
    std::strncpy(reader->message, message, sizeof reader->message - 1);
    png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_data(png_structp png, png_bytep to, std::size_t count) {
    auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
    if (count > reader->rest.size()) {
        png_error(png, "the file ends too early");
    }
    std::memcpy(to, reader->rest.data(), count);
    reader->rest.remove_prefix(count);
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

bool read_header(Reader& reader) {
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png == nullptr ? nullptr : png_create_info_struct(reader.png);
    if (reader.info == nullptr) {
        throw std::bad_alloc();
    }
    return attempt(reader, [&] {
        png_set_read_fn(reader.png, &reader, read_data);
        png_set_user_limits(reader.png, 0x7FFFFFFF, 0x7FFFFFFF);  // check_size sets the limit
        png_set_crc_action(reader.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
        png_read_info(reader.png, reader.info);
    });
}

// Prepares for reading rows as stored, one byte for each sample.
bool start_rows(Reader& reader) {
    return attempt(reader, [&] {
        png_set_packing(reader.png);
        if (png_get_bit_depth(reader.png, reader.info) == 16 &&
            png_get_color_type(reader.png, reader.info) != PNG_COLOR_TYPE_GRAY) {
            png_set_strip_16(reader.png);
        }
        png_set_interlace_handling(reader.png);
        png_read_update_info(reader.png, reader.info);
    });
}

// How the stored samples are to be read.
struct Stored {
    int color = 0;
    int depth = 0;
    png_colorp palette = nullptr;
    int colors = 0;
    png_bytep alphas = nullptr;  // of the palette's entries
    int alpha_count = 0;
    png_color_16p key = nullptr;  // the colour that is transparent
};

void convert_grey(const Stored& stored, const std::uint8_t* from, std::uint8_t* to, int width) {
    for (int x = 0; x < width; ++x) {
        if (stored.depth == 16) {
            to[x] = static_cast<std::uint8_t>((from[2 * x] << 8 | from[2 * x + 1]) / 257);
            continue;
        }
        const unsigned scale = stored.depth == 1 ? 255 : stored.depth == 2 ? 85 : stored.depth == 4 ? 17 : 1;
        const unsigned value = from[x] * scale;
        // Pillow compares the key's low byte with the scaled value, except in one-bit images.
        const unsigned key = stored.key == nullptr ? 256
                             : stored.depth == 1   ? (stored.key->gray ? 255 : 0)
                                                   : stored.key->gray & 0xFFu;
        to[x] = static_cast<std::uint8_t>(value == key ? 255 : value);
    }
}

void lay_over_white(png_color color, unsigned alpha, std::uint8_t* to) {
    to[0] = over_white(color.red, alpha);
    to[1] = over_white(color.green, alpha);
    to[2] = over_white(color.blue, alpha);
}

void convert_row(const Stored& stored, const std::uint8_t* from, std::uint8_t* to, int width) {
    if (stored.color == PNG_COLOR_TYPE_GRAY) {
        convert_grey(stored, from, to, width);
    } else if (stored.color == PNG_COLOR_TYPE_GRAY_ALPHA) {
        for (int x = 0; x < width; ++x) {
            to[x] = over_white(from[2 * x], from[2 * x + 1]);
        }
    } else if (stored.color == PNG_COLOR_TYPE_PALETTE) {
        for (int x = 0; x < width; ++x, to += 3) {
            const int index = from[x];
            lay_over_white(index < stored.colors ? stored.palette[index] : png_color{0, 0, 0},
                           index < stored.alpha_count ? stored.alphas[index] : 255u, to);
        }
    } else if (stored.color == PNG_COLOR_TYPE_RGB) {
        std::memcpy(to, from, 3 * static_cast<std::size_t>(width));
        for (int x = 0; stored.key != nullptr && x < width; ++x, to += 3) {
            if (to[0] == (stored.key->red & 0xFF) && to[1] == (stored.key->green & 0xFF) &&
                to[2] == (stored.key->blue & 0xFF)) {
                to[0] = to[1] = to[2] = 255;
            }
        }
    } else {
        for (int x = 0; x < width; ++x, from += 4, to += 3) {
            lay_over_white({from[0], from[1], from[2]}, from[3], to);
        }
    }
}

Stored describe(const Reader& reader) {
    Stored stored;
    stored.color = png_get_color_type(reader.png, reader.info);
    stored.depth = png_get_bit_depth(reader.png, reader.info);
    png_get_PLTE(reader.png, reader.info, &stored.palette, &stored.colors);
    png_get_tRNS(reader.png, reader.info, &stored.alphas, &stored.alpha_count, &stored.key);
    return stored;
}

std::string text_block(const Reader& reader, const char* key) {
    png_textp texts = nullptr;
    const int count = png_get_text(reader.png, reader.info, &texts, nullptr);
    for (int i = count - 1; i >= 0; --i) {
        if (std::strcmp(texts[i].key, key) == 0 && texts[i].text != nullptr) {
            const std::size_t size =
                texts[i].compression >= PNG_ITXT_COMPRESSION_NONE ? texts[i].itxt_length : texts[i].text_length;
            return {texts[i].text, size};
        }
    }
    return {};
}

std::string exif_block(const Reader& reader) {
    png_uint_32 size = 0;
    png_bytep data = nullptr;
    if (png_get_eXIf_1(reader.png, reader.info, &size, &data)) {
        return {reinterpret_cast<const char*>(data), size};
    }
    return {};
}

}  // namespace

Image decode_png(std::string_view data, const std::string& name) {
    Reader reader;
    reader.rest = data;
    const auto damaged = [&] { fail(ErrorCode::image, name, " is damaged or truncated (", reader.message, ")"); };
    if (!read_header(reader)) {
        damaged();
    }
    const auto width = static_cast<int>(png_get_image_width(reader.png, reader.info));
    const auto height = static_cast<int>(png_get_image_height(reader.png, reader.info));
    check_size(width, height, name);
    const Stored stored = describe(reader);
    if (!start_rows(reader)) {
        damaged();
    }
    const std::size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
    reader.pixels.resize(row_bytes * static_cast<std::size_t>(height));
    for (int y = 0; y < height; ++y) {
        reader.rows.push_back(reader.pixels.data() + row_bytes * static_cast<std::size_t>(y));
    }
    if (!attempt(reader, [&] { png_read_image(reader.png, reader.rows.data()); })) {
        damaged();
    }
    // Behind the pixels there may be an orientation; a file that ends here is whole enough.
    attempt(reader, [&] { png_read_end(reader.png, reader.info); });
    const bool grey = stored.color == PNG_COLOR_TYPE_GRAY || stored.color == PNG_COLOR_TYPE_GRAY_ALPHA;
    Image image(width, height, grey ? 1 : 3);
    for (int y = 0; y < height; ++y) {
        convert_row(stored, reader.rows[static_cast<std::size_t>(y)], image.row(y), width);
    }
    return upright(std::move(image), orientation(exif_block(reader), text_block(reader, "XML:com.adobe.xmp")));
}

}  // namespace sacvit::detail
