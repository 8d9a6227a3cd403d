#include "images/frame.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "images/decode.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

int halved(int length) { return (length + 1) / 2; }  // of chroma; the last of an odd number has its own

void check_planes(const ImageView& view, const std::string& name) {
    const bool behind = view.u == nullptr || (view.format == PixelFormat::i420 && view.v == nullptr);
    if (behind && (view.height % 2 != 0 || view.pitch < 0)) {
        fail(ErrorCode::usage, name,
             " has an odd height or rows from below: where its chroma is isn't known; set u and v");
    }
    const Plane chroma = planes_of(view)[1];
    if (std::abs(chroma.pitch) < chroma.row_bytes) {
        fail(ErrorCode::usage, name, " has rows of ", chroma.row_bytes, " bytes of chroma, but a chroma_pitch of ",
             chroma.pitch, " bytes");
    }
}

}  // namespace

bool is_yuv(PixelFormat format) { return format >= PixelFormat::nv12 && format <= PixelFormat::yuyv; }

int pixel_bytes(PixelFormat format) {
    return format == PixelFormat::gray ? 1 : format == PixelFormat::rgb || format == PixelFormat::bgr ? 3 : 4;
}

void check_view(const ImageView& view, const std::string& name) {
    if (view.format < PixelFormat::rgb || view.format > PixelFormat::yuyv) {
        fail(ErrorCode::usage, name, " has an unknown pixel format");
    }
    if (view.colors < YuvColors::bt601 || view.colors > YuvColors::bt709_full) {
        fail(ErrorCode::usage, name, " has an unknown kind of YUV colors");
    }
    if (view.width < 1 || view.height < 1) {
        fail(ErrorCode::image, name, " has no pixels (", view.width, "x", view.height, ")");
    }
    if (view.data == nullptr) {
        fail(ErrorCode::usage, name, " has no data");
    }
    if (std::abs(view.pitch) < planes_of(view)[0].row_bytes) {
        fail(ErrorCode::usage, name, " has rows of ", view.width, " pixels, but a pitch of ", view.pitch, " bytes");
    }
    if (view.format == PixelFormat::nv12 || view.format == PixelFormat::i420) {
        check_planes(view, name);
    }
}

std::array<Plane, 3> planes_of(const ImageView& view) {
    const std::ptrdiff_t width = view.width, half = halved(view.width);
    const int rows = halved(view.height);
    const auto behind = [](const Plane& plane) { return plane.data + plane.pitch * plane.rows; };
    std::array<Plane, 3> out;
    out[0] = {view.data, view.pitch, width, view.height};
    switch (view.format) {
        case PixelFormat::nv12:
            out[1] = {view.u, view.chroma_pitch != 0 ? view.chroma_pitch : view.pitch, 2 * half, rows};
            out[1].data = view.u != nullptr ? view.u : behind(out[0]);
            break;
        case PixelFormat::i420:
            // Half of it, away from 0: rows from below have a negative pitch.
            out[1] = {view.u, view.chroma_pitch, half, rows};
            if (view.chroma_pitch == 0) {
                out[1].pitch = view.pitch < 0 ? -((1 - view.pitch) / 2) : (view.pitch + 1) / 2;
            }
            out[1].data = view.u != nullptr ? view.u : behind(out[0]);
            out[2] = out[1];
            out[2].data = view.v != nullptr ? view.v : behind(out[1]);
            break;
        case PixelFormat::yuyv:
            out[0].row_bytes = 4 * half;  // two pixels
            break;
        default: out[0].row_bytes = width * pixel_bytes(view.format);
    }
    return out;
}

std::vector<std::uint8_t> own(Source& source, std::int64_t max_pixels) {
    std::vector<std::uint8_t> copy;
    if (auto* const bytes = std::get_if<Bytes>(&source);
        bytes != nullptr && bytes->size != 0 && bytes->data != nullptr) {
        const auto* const from = static_cast<const std::uint8_t*>(bytes->data);
        copy.assign(from, from + bytes->size);
        bytes->data = copy.data();
    } else if (auto* const view = std::get_if<ImageView>(&source)) {
        check_size(view->width, view->height, "the image", max_pixels);
        check_view(*view, "the image");
        const std::array<Plane, 3> planes = planes_of(*view);
        std::array<std::size_t, 3> begins{};
        std::size_t size = 0;
        for (std::size_t i = 0; i < planes.size(); ++i) {
            begins[i] = size;
            size += static_cast<std::size_t>(planes[i].row_bytes) * static_cast<std::size_t>(planes[i].rows);
        }
        copy.resize(size);
        for (std::size_t i = 0; i < planes.size(); ++i) {
            const Plane& plane = planes[i];
            for (int y = 0; y < plane.rows; ++y) {
                std::memcpy(copy.data() + begins[i] + static_cast<std::size_t>(y * plane.row_bytes),
                            plane.data + y * plane.pitch, static_cast<std::size_t>(plane.row_bytes));
            }
        }
        view->data = copy.data();
        view->pitch = planes[0].row_bytes;
        view->u = copy.data() + begins[1];
        view->v = copy.data() + begins[2];
        view->chroma_pitch = planes[1].row_bytes;
    }
    return copy;
}

}  // namespace sacvit::detail
