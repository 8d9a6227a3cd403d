// JPEG by libjpeg-turbo, with the settings and the tolerance for damage that the Python runtime's decoder has.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>

#include <jpeglib.h>

#include "images/decode.hpp"
#include "images/upright.hpp"
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
    int found = JPEG_HEADER_TABLES_ONLY;
    while (found == JPEG_HEADER_TABLES_ONLY) {  // an image without pixels in front of another, as Python skips it
        found = jpeg_read_header(&info, FALSE);
    }
    if (found == JPEG_SUSPENDED) {
        std::strcpy(reader.message, "it ends within its header");
        return false;
    }
    info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : info.num_components == 3 ? JCS_RGB : JCS_CMYK;
    return true;
}

// Baseline, extended and progressive frames; those that libjpeg-turbo does not know it refuses by itself.
bool begins_frame(int marker) {
    return marker == 0xC0 || marker == 0xC1 || marker == 0xC2 || marker == 0xC9 || marker == 0xCA;
}

bool decompress(Reader& reader, Upright& image) {
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
        const int y = static_cast<int>(info.output_scanline);
        std::uint8_t* to = image.row(y);
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
        image.done(y);
    }
    // Damage behind the last row is ignored, as Python does, but for a second frame. Where that is cut, libjpeg-turbo 2
    // waits for its rest, and 3, which Python has, refuses it.
    if (!jpeg_finish_decompress(&info) && begins_frame(info.unread_marker)) {
        std::strcpy(reader.message, "two frames");
        return false;
    }
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

// What decoding takes, in bytes: as Python estimates it, so that both refuse the same images.
std::size_t estimate(const jpeg_decompress_struct& info, std::size_t file) {
    const std::size_t width = info.image_width, height = info.image_height;
    std::size_t total = beside_pixels(info.image_width, info.image_height, file);
    total += stored(width, height, info.num_components == 1 ? 1 : 4);
    if (!info.progressive_mode && info.comps_in_scan == info.num_components) {
        return total;
    }
    // All coefficients are kept where a component comes in several scans, or all of them in scans of their own.
    std::size_t samples = 0, across = 1, down = 1;
    for (int i = 0; i < info.num_components; ++i) {
        const auto h = static_cast<std::size_t>(info.comp_info[i].h_samp_factor);
        const auto v = static_cast<std::size_t>(info.comp_info[i].v_samp_factor);
        samples += h * v;
        across = std::max(across, h);
        down = std::max(down, v);
    }
    const std::size_t padded = (width + 32) * (height + 32);  // to whole blocks of up to 4x8 pixels
    return total + 2 * padded * samples / (across * down);
}

}  // namespace

Image decode_jpeg(std::string_view data, const std::string& name, Share& share) {
    Reader reader;
    const auto damaged = [&](const auto&... parts) {
        fail(ErrorCode::image, name, " is damaged or truncated (", parts..., ")");
    };
    if (!start(reader, data)) {
        damaged(reader.message);
    }
    jpeg_decompress_struct& info = reader.info;
    check_size(info.image_width, info.image_height, name, share.limits().pixels);
    if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4) {
        damaged("cannot handle ", info.num_components, "-layer images");
    }
    share.take(estimate(info, data.size()), info.image_width, info.image_height, name);
    info.mem->max_memory_to_use = static_cast<long>(share.limits().memory->each());  // in case the estimate is wrong
    const std::string_view mark("Exif\0\0", 6);
    const std::string exif = std::string(mark) + blocks(info, mark, false);
    const std::string xmp = blocks(info, std::string_view("http://ns.adobe.com/xap/1.0/\0", 29), true);
    Upright image(static_cast<int>(info.image_width), static_cast<int>(info.image_height),
                  info.num_components == 1 ? 1 : 3, orientation(exif, xmp));
    if (!decompress(reader, image)) {
        damaged(reader.message);
    }
    return image.take();
}

}  // namespace sacvit::detail
