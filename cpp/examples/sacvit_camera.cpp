// sacvit_camera BUNDLE ["PIPELINE"]: answers for what a GStreamer pipeline gives, one line each.
//
// The pipeline ends where frames are to be classified; this program adds a conversion to NV12 or I420, which is none
// for most cameras and decoders, and an appsink. Build with -DSACVIT_GSTREAMER=ON; see docs/live.md.
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include "sacvit/sacvit.hpp"

namespace {

// The stream drops what comes too fast, and counts it; the sink has nothing to drop.
constexpr const char* kSink = " ! videoconvert ! video/x-raw,format={NV12,I420} ! appsink name=frames sync=false";

sacvit::YuvColors colors_of(const GstVideoInfo& info) {
    const GstVideoColorimetry& colors = GST_VIDEO_INFO_COLORIMETRY(&info);
    const bool full = colors.range == GST_VIDEO_COLOR_RANGE_0_255;
    if (colors.matrix == GST_VIDEO_COLOR_MATRIX_BT709) {
        return full ? sacvit::YuvColors::bt709_full : sacvit::YuvColors::bt709;
    }
    return full ? sacvit::YuvColors::bt601_full : sacvit::YuvColors::bt601;
}

// The frames of a running pipeline; called by the stream's own thread, which copies each before it asks for the next.
class Frames {
public:
    explicit Frames(const std::string& description) {
        GError* error = nullptr;
        pipeline_ = gst_parse_launch((description + kSink).c_str(), &error);
        if (error != nullptr) {
            const std::string message = error->message;
            g_error_free(error);
            throw std::runtime_error(message);
        }
        sink_ = gst_bin_get_by_name(GST_BIN(pipeline_), "frames");
        gst_element_set_state(pipeline_, GST_STATE_PLAYING);  // why it fails is told in place of the first frame
    }
    ~Frames() {
        release();
        gst_element_set_state(pipeline_, GST_STATE_NULL);
        gst_object_unref(sink_);
        gst_object_unref(pipeline_);
    }
    Frames(const Frames&) = delete;
    Frames& operator=(const Frames&) = delete;

    std::optional<sacvit::Source> next() {
        release();
        while ((sample_ = gst_app_sink_try_pull_sample(GST_APP_SINK(sink_), GST_SECOND / 10)) == nullptr) {
            check_bus();
            if (gst_app_sink_is_eos(GST_APP_SINK(sink_))) {
                return std::nullopt;
            }
        }
        GstVideoInfo info;
        if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample_)) ||
            !gst_video_frame_map(&frame_, &info, gst_sample_get_buffer(sample_), GST_MAP_READ)) {
            throw std::runtime_error("a frame can't be read");
        }
        mapped_ = true;
        const bool nv12 = GST_VIDEO_INFO_FORMAT(&info) == GST_VIDEO_FORMAT_NV12;
        const auto plane = [&](guint number) {
            return static_cast<const std::uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(&frame_, number));
        };
        return sacvit::ImageView{plane(0),
                                 GST_VIDEO_FRAME_WIDTH(&frame_),
                                 GST_VIDEO_FRAME_HEIGHT(&frame_),
                                 GST_VIDEO_FRAME_PLANE_STRIDE(&frame_, 0),
                                 nv12 ? sacvit::PixelFormat::nv12 : sacvit::PixelFormat::i420,
                                 colors_of(info),
                                 plane(1),
                                 nv12 ? nullptr : plane(2),
                                 GST_VIDEO_FRAME_PLANE_STRIDE(&frame_, 1)};
    }

private:
    void release() {
        if (mapped_) {
            gst_video_frame_unmap(&frame_);
            mapped_ = false;
        }
        if (sample_ != nullptr) {
            gst_sample_unref(sample_);
            sample_ = nullptr;
        }
    }

    // Throws the pipeline's error, if there was one.
    void check_bus() {
        const std::unique_ptr<GstBus, decltype(&gst_object_unref)> bus(gst_element_get_bus(pipeline_),
                                                                       gst_object_unref);
        const std::unique_ptr<GstMessage, decltype(&gst_message_unref)> message(
            gst_bus_pop_filtered(bus.get(), GST_MESSAGE_ERROR), gst_message_unref);
        if (message != nullptr) {
            GError* error = nullptr;
            gst_message_parse_error(message.get(), &error, nullptr);
            const std::string words = error->message;
            g_error_free(error);
            throw std::runtime_error(words);
        }
    }

    GstElement *pipeline_ = nullptr, *sink_ = nullptr;
    GstSample* sample_ = nullptr;
    GstVideoFrame frame_{};
    bool mapped_ = false;
};

int run(const char* bundle, const std::string& description) {
    const sacvit::Model model(bundle);
    Frames frames(description);
    sacvit::StreamOptions options;
    options.max_delay = 0.1;
    options.keep = sacvit::Keep::latest;
    sacvit::Stream answers = model.stream([&] { return frames.next(); }, options);
    while (const auto result = answers.next()) {
        if (const auto* error = std::get_if<sacvit::Error>(&*result)) {
            std::fprintf(stderr, "frame %zu: %s\n", answers.position(), error->what());
            continue;
        }
        const auto& answer = std::get<sacvit::Prediction>(*result);
        std::printf("frame %zu: %s %.1f%%, stage %d\n", answers.position(), answer.label().c_str(),
                    100 * answer.probability(), answer.stage);
    }
    std::printf("%zu frames taken, %zu dropped\n", answers.taken(), answers.dropped());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: sacvit_camera BUNDLE [\"GSTREAMER PIPELINE\"]\n");
        return 2;
    }
    gst_init(nullptr, nullptr);
    try {
        return run(argv[1], argc > 2 ? argv[2] : "v4l2src");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "Error: %s\n", error.what());
        return 1;
    }
}
