// JPEG by libjpeg-turbo, with the settings and the tolerance for damage that the Python runtime's decoder has.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>

#include <jpeglib.h>

#include "images/decode.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// The state of the decoder's C code. No C++ destructor touches a member while a jump may happen.
struct Reader {
    jpeg_decompress_struct info{};
    jpeg_error_mgr errors{};
    std::jmp_buf jump{};
    char message[JMSG_LENGTH_MAX] = "";
    JSAMPARRAY line = nullptr;  // one row of CMYK

    ~Reader() { jpeg_destroy_decompress(&info); }
};

[[noreturn]] void on_error(j_common_ptr info) {
    auto* reader = static_cast<Reader*>(info->client_data);
    (*info->err->format_message)(info, reader->message);
    std::longjmp(reader->jump, 1);
}

void on_message(j_common_ptr, int) {}  // warnings don't count as damage, as in the Python runtime
void on_output(j_common_ptr) {}

// The whole file is in memory, so a request for more means a truncated file: the library suspends and returns.
boolean no_more(j_decompress_ptr) { return FALSE; }

void skip(j_decompress_ptr info, long count) {
    const std::size_t step = std::min<std::size_t>(std::max(count, 0L), info->src->bytes_in_buffer);
    info->src->next_input_byte += step;
    info->src->bytes_in_buffer -= step;
}

// Reads the header and sets the output's colours; false with a message if that fails.
bool start(Reader& reader, std::string_view data) {
    jpeg_decompress_struct& info = reader.info;
    info.client_data = &reader;
    info.err = jpeg_std_error(&reader.errors);
    info.err->error_exit = on_error;
    info.err->emit_message = on_message;
    info.err->output_message = on_output;
    if (setjmp(reader.jump)) {
        return false;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(data.data()), data.size());
    info.src->fill_input_buffer = no_more;
    info.src->skip_input_data = skip;
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
    if (jpeg_read_header(&info, TRUE) == JPEG_SUSPENDED) {
        std::strcpy(reader.message, "it ends within its header");
        return false;
    }
    info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : info.num_components == 3 ? JCS_RGB : JCS_CMYK;
    return true;
}

bool decompress(Reader& reader, Image& image) {
    jpeg_decompress_struct& info = reader.info;
    std::strcpy(reader.message, "it ends before its last row");
    if (setjmp(reader.jump)) {
        return false;
    }
    if (!jpeg_start_decompress(&info)) {
        return false;
    }
    const bool inks = info.out_color_space == JCS_CMYK;
    if (inks) {
        reader.line =
            (*info.mem->alloc_sarray)(reinterpret_cast<j_common_ptr>(&info), JPOOL_IMAGE, info.output_width * 4, 1);
    }
    while (info.output_scanline < info.output_height) {
        std::uint8_t* to = image.row(static_cast<int>(info.output_scanline));
        JSAMPROW row = inks ? reader.line[0] : to;
        if (jpeg_read_scanlines(&info, &row, 1) != 1) {
            return false;
        }
        for (JDIMENSION x = 0; inks && x < info.output_width; ++x, to += 3) {
            // Files with four channels hold inks inverted, as Adobe's programs write them.
            const JSAMPLE* ink = row + 4 * static_cast<std::size_t>(x);
            for (int channel = 0; channel < 3; ++channel) {
                to[channel] = under_ink(255u - ink[channel], 255u - ink[3]);
            }
        }
    }
    jpeg_finish_decompress(&info);  // ignores damage behind the last row, as Python does
    return true;
}

// The contents of the application blocks that begin with `mark`: of the last one, or of all, joined.
std::string blocks(const jpeg_decompress_struct& info, std::string_view mark, bool last) {
    std::string out;
    for (auto marker = info.marker_list; marker != nullptr; marker = marker->next) {
        const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
        if (data.substr(0, mark.size()) == mark) {
            out = (last ? std::string() : out) + std::string(data.substr(mark.size()));
        }
    }
    return out;
}

}  // namespace

Image decode_jpeg(std::string_view data, const std::string& name) {
    Reader reader;
    const auto damaged = [&](const auto&... parts) {
        fail(ErrorCode::image, name, " is damaged or truncated (", parts..., ")");
    };
    if (!start(reader, data)) {
        damaged(reader.message);
    }
    const jpeg_decompress_struct& info = reader.info;
    check_size(info.image_width, info.image_height, name);
    if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4) {
        damaged("cannot handle ", info.num_components, "-layer images");
    }
    // Read now: the library frees its markers when it finishes.
    const std::string exif = blocks(info, std::string_view("Exif\0\0", 6), false);
    const std::string xmp = blocks(info, std::string_view("http://ns.adobe.com/xap/1.0/\0", 29), true);
    Image image(static_cast<int>(info.image_width), static_cast<int>(info.image_height),
                info.num_components == 1 ? 1 : 3);
    if (!decompress(reader, image)) {
        damaged(reader.message);
    }
    return upright(std::move(image), orientation(exif, xmp));
}

}  // namespace sacvit::detail
