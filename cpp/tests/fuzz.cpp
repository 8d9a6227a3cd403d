// Fuzzes the parsers of untrusted input: manifests, images, their orientation blocks, ONNX files, texts. The first byte
// of an input chooses. Nothing but sacvit::Error may come out.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bundle/bundle.hpp"
#include "bundle/onnx_weights.hpp"
#include "files.hpp"
#include "images/decode.hpp"
#include "images/preprocess.hpp"
#include "text.hpp"

namespace {

using namespace sacvit::detail;

// Puts the right digest into a manifest, so that the checks behind that of the digest are reached.
std::string sealed(std::string raw) {
    const std::string mark = "\"digest\": \"sha256:";
    const std::size_t at = raw.find(mark);
    if (at != raw.npos && at + mark.size() + 64 <= raw.size()) {
        raw.replace(at + mark.size(), 64, std::string(64, '0'));
        raw.replace(at + mark.size(), 64, sha256(raw));
    }
    return raw;
}

void feed(int kind, std::string_view data) {
    switch (kind) {
        case 0: parse_manifest(sealed(std::string(data))); return;
        case 1: {
            // Large images take a fuzzer's time; the limit itself has a test of its own.
            const Image image = decode_bytes(data, "image");
            if (image.width * static_cast<std::int64_t>(image.height) < 1'000'000) {
                fit(image.view(), 32, {}, "image");
            }
            return;
        }
        case 2: orientation(data, data); return;
        case 3: external_tensors(data, "model"); return;
        default: split_lines(data); json_string(data);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    try {
        feed(data[0] % 5, {reinterpret_cast<const char*>(data) + 1, size - 1});
    } catch (const sacvit::Error&) {
    }
    return 0;
}
