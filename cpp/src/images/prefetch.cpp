#include "images/prefetch.hpp"

#include <memory>
#include <new>
#include <utility>

#include "images/decode.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

std::string name_of(const Source& source) {
    if (const auto* path = std::get_if<std::string>(&source)) {
        return *path;
    }
    return std::holds_alternative<Bytes>(source) ? "<bytes>" : "<pixels>";
}

Image decode(const Source& source, Share& share) {
    if (const auto* bytes = std::get_if<Bytes>(&source)) {
        if (bytes->data == nullptr) {
            fail(ErrorCode::usage, "the image has neither a path nor data: both pointers are NULL");
        }
        return decode_bytes({static_cast<const char*>(bytes->data), bytes->size}, "the image's bytes", share);
    }
    return decode_file(std::get<std::string>(source), share);
}

void check(const ImageView& view, Share& share) {
    check_size(view.width, view.height, "the image", share.limits().pixels);
    const auto pixels = static_cast<std::size_t>(view.width) * static_cast<std::size_t>(view.height);
    share.take(beside_pixels(view.width, view.height, 0) + 4 * pixels, view.width, view.height, "the image");
}

}  // namespace

Item prepare(const Source& source, const Config& config, const Limits& limits) {
    Item item;
    try {
        item.source = name_of(source);
        Share share(limits);
        Stopwatch watch;
        const auto* const pixels = std::get_if<ImageView>(&source);
        if (pixels) {
            check(*pixels, share);
        }
        const Image image = pixels ? Image() : decode(source, share);
        item.timing.decode = watch.lap();
        item.pixels = fit(pixels ? *pixels : image.view(), static_cast<int>(config.geometry.image_size),
                          config.preprocessing, pixels ? "the image" : item.source);
        item.timing.preprocess = watch.lap();
    } catch (const Error& error) {
        item.error = error;
    } catch (const std::bad_alloc&) {
        item.error = Error(ErrorCode::image, text("not enough memory to decode ", printable(item.source),
                                                  "; it fits with fewer threads or a smaller image"));
    } catch (const std::exception& error) {
        item.error = Error(ErrorCode::image, printable(text("can't prepare ", item.source, " (", error.what(), ")")));
    }
    return item;
}

Prefetch::Prefetch(NextSource next, const Config& config, Limits limits, std::size_t depth, std::size_t workers)
    : next_(std::move(next)),
      config_(config),
      limits_(std::move(limits)),
      depth_(depth),
      alone_(workers <= 1),
      workers_(workers) {}

std::optional<Item> Prefetch::next() {
    while (!ended_ && order_.size() < (alone_ ? 1 : depth_)) {
        std::optional<Source> source;
        try {
            source = next_();
        } catch (...) {
            failure_ = std::current_exception();
        }
        if (!source) {
            ended_ = true;
            break;
        }
        ++taken_;
        if (alone_) {
            return prepare(*source, config_, limits_);
        }
        // An exception goes to the caller.
        const auto task = std::make_shared<std::packaged_task<Item()>>(
            [this, source = std::move(*source)] { return prepare(source, config_, limits_); });
        order_.push_back(task->get_future());
        workers_.submit([task] { (*task)(); });
    }
    if (order_.empty()) {
        if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) {
            std::rethrow_exception(failure);
        }
        return std::nullopt;
    }
    std::future<Item> item = std::move(order_.front());
    order_.pop_front();
    return item.get();
}

}  // namespace sacvit::detail
