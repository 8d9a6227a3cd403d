#include "images/item.hpp"

#include "images/decode.hpp"
#include "images/image.hpp"
#include "stopwatch.hpp"

namespace sacvit::detail {
namespace {

std::string name_of(const Source& source) {
    if (const auto* path = std::get_if<std::string>(&source)) {
        return *path;
    }
    return std::holds_alternative<Bytes>(source) ? "<bytes>" : "<pixels>";
}

Image decode(const Source& source) {
    if (const auto* bytes = std::get_if<Bytes>(&source)) {
        return decode_bytes({static_cast<const char*>(bytes->data), bytes->size}, "the image's bytes");
    }
    return decode_file(std::get<std::string>(source));
}

}  // namespace

Item prepare(const Source& source, const Config& config) {
    Item item;
    item.source = name_of(source);
    try {
        Stopwatch watch;
        const auto* const pixels = std::get_if<ImageView>(&source);
        const Image image = pixels ? Image() : decode(source);
        item.timing.decode = watch.lap();
        item.pixels = fit(pixels ? *pixels : image.view(), static_cast<int>(config.geometry.image_size),
                          config.preprocessing, pixels ? "the image" : item.source);
        item.timing.preprocess = watch.lap();
    } catch (const Error& error) {
        item.error = error;
    }
    return item;
}

}  // namespace sacvit::detail
