// Fuzzes the parsers of untrusted input: manifests, images, their orientation blocks, ONNX files, texts. The first byte
// of an input chooses. Nothing but sacvit::Error may come out.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <set>
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

// Puts the right checksums into a PNG's chunks, so that what is behind those checks is reached.
std::string summed(std::string raw) {
    const auto byte = [&](std::size_t at) -> std::size_t { return static_cast<std::uint8_t>(raw[at]); };
    for (std::size_t at = 8; raw.compare(0, 4, "\x89PNG") == 0 && at + 12 <= raw.size();) {
        const std::size_t size = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
        if (size > raw.size() - at - 12) {
            break;
        }
        const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(&raw[at + 4]), size + 4);
        for (std::size_t i = 0; i < 4; ++i) {
            raw[at + 8 + size + i] = static_cast<char>(sum >> (24 - 8 * i) & 0xFF);
        }
        at += 12 + size;
    }
    return raw;
}

const std::string zeros(1 << 24, '\0');  // in place of a weights file

void feed(int kind, std::string_view data) {
    switch (kind) {
        case 0: parse_manifest(sealed(std::string(data))); return;
        case 1: {
            // Large images take a fuzzer's time; the limits have tests of their own.
            static const Limits bounds = limits(4'000'000);
            Share share(bounds);
            const Image image = decode_bytes(summed(std::string(data)), "image", share);
            if (image.width * static_cast<std::int64_t>(image.height) < 1'000'000) {
                fit(image.view(), 32, {}, "image");
            }
            return;
        }
        case 2: orientation(data, data); return;
        case 3: {
            const std::string_view weights(zeros.data(), zeros.size());
            const bool int8 = data.find("weights.int8.bin") != data.npos;
            std::set<std::string> every_other;
            for (const ExternalTensor& tensor :
                 external_tensors(data, "model", int8 ? "weights.int8.bin" : "weights.fp32.bin", weights.size())) {
                if (tensor.offset % 128 == 0) {
                    every_other.insert(tensor.name);
                }
            }
            with_weights(data, weights, every_other, "null");
            return;
        }
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
