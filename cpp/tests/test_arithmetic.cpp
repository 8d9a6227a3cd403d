// The arithmetic that C++ shares with Python, against tests/golden/arithmetic.json: argv[1].
#include <cstring>
#include <fstream>

#include <nlohmann/json.hpp>

#include "backends/device_name.hpp"
#include "backends/machine.hpp"
#include "backends/onnxruntime/failures.hpp"
#include "check.hpp"
#include "confidence.hpp"
#include "config.hpp"
#include "files.hpp"
#include "glue.hpp"
#include "images/prefetch.hpp"
#include "images/preprocess.hpp"
#include "images/resize.hpp"
#include "made_up.hpp"
#include "text.hpp"

using namespace sacvit::detail;
using nlohmann::json;

namespace {

template <typename T>
std::string hash(const std::vector<T>& values) {
    return sha256({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

Preprocessing recipe_of(const json& data) {
    return {data["interpolation"], data["crop"], data["mean"], data["std"], data["resize"], data["resize_rounding"]};
}

// The same image in another layout: every format, rows further apart, upside down.
std::string fit_from(const std::vector<std::uint8_t>& rgb, int width, int height, int size, const Preprocessing& recipe,
                     sacvit::PixelFormat format, bool flipped) {
    const int channels = format == sacvit::PixelFormat::rgba || format == sacvit::PixelFormat::bgra ? 4 : 3;
    const bool bgr = format == sacvit::PixelFormat::bgr || format == sacvit::PixelFormat::bgra;
    const std::ptrdiff_t pitch = channels * width + 13;
    std::vector<std::uint8_t> data(static_cast<std::size_t>(pitch * height), 255);
    for (int y = 0; y < height; ++y) {
        std::uint8_t* to = data.data() + (flipped ? height - 1 - y : y) * pitch;
        const std::uint8_t* from = rgb.data() + 3 * static_cast<std::ptrdiff_t>(y) * width;
        for (int x = 0; x < width; ++x, to += channels, from += 3) {
            for (int c = 0; c < 3; ++c) {
                to[bgr ? 2 - c : c] = from[c];
            }
        }
    }
    const sacvit::ImageView view{flipped ? data.data() + (height - 1) * pitch : data.data(), width, height,
                                 flipped ? -pitch : pitch, format};
    return hash(fit(view, size, recipe, "test"));
}

void test_fit(const json& golden) {
    for (const json& entry : golden["fit"]) {
        const int width = entry["width"], height = entry["height"], size = entry["size"];
        const std::vector<std::uint8_t> pixels = made_up(entry["width"], entry["height"]);
        const Preprocessing recipe = recipe_of(entry["recipe"]);
        for (const auto format : {sacvit::PixelFormat::rgb, sacvit::PixelFormat::bgr, sacvit::PixelFormat::rgba,
                                  sacvit::PixelFormat::bgra}) {
            for (const bool flipped : {false, true}) {
                EQUAL(fit_from(pixels, width, height, size, recipe, format, flipped), entry["sha256"], entry);
            }
        }
    }
    // Grey is the image with three equal channels.
    const std::vector<std::uint8_t> grey = made_up(90, 70, 1);
    std::vector<std::uint8_t> colour;
    for (const std::uint8_t value : grey) {
        colour.insert(colour.end(), 3, value);
    }
    CHECK(fit({grey.data(), 90, 70, 90, sacvit::PixelFormat::gray}, 32, {}, "test") ==
          fit({colour.data(), 90, 70, 270, sacvit::PixelFormat::rgb}, 32, {}, "test"));
}

// This processor's way of mixing against the plain one: rests, one input and many, sums beyond both ends.
void test_mix() {
    const std::vector<std::uint8_t> bytes = made_up(200, 40, 1);
    std::uint32_t seed = 1;
    for (const int lanes : {1, 47, 48, 49, 96, 150}) {
        for (const int count : {1, 2, 4, 5, 39}) {
            std::vector<std::int32_t> weights;
            for (int i = 0; i < count; ++i) {
                seed = seed * 1664525 + 1013904223;
                weights.push_back(static_cast<std::int32_t>(seed >> 9) / count - (1 << (kFraction - 1)) / count);
            }
            std::vector<std::uint8_t> plain(static_cast<std::size_t>(lanes) + 1, 7), fast = plain;
            mix_plain(bytes.data(), 200, {weights.data(), count}, plain.data(), lanes);
            choose_mix()(bytes.data(), 200, {weights.data(), count}, fast.data(), lanes);
            CHECK(plain == fast && plain.back() == 7, lanes, " lanes, ", count, " inputs");
        }
    }
}

void test_views(const json& golden) {
    for (const json& entry : golden["low_view"]) {
        const int size = entry["size"];
        const std::vector<std::uint8_t> pixels = made_up(entry["size"], entry["size"]);
        const Normalise normalise = scale_and_shift(recipe_of(entry["recipe"]));
        EQUAL(json(normalise.scale), entry["scale"]);
        EQUAL(json(normalise.shift), entry["shift"]);
        std::vector<float> view(pixels.size() / 4);
        low_view(pixels.data(), size, entry["downsample"], normalise, view.data());
        EQUAL(hash(view), entry["sha256"], entry);
    }
    for (const json& entry : golden["gather"]) {
        Geometry geometry;
        geometry.image_size = entry["size"];
        geometry.patch_size = entry["patch"];
        std::vector<std::uint8_t> patches;
        gather_patches(made_up(entry["size"], entry["size"]), entry["targets"], geometry, patches);
        EQUAL(hash(patches), entry["sha256"], entry);
    }
}

std::vector<float> floats(const json& texts) {
    std::vector<float> out;
    for (const json& text : texts) {
        out.push_back(std::stof(text.get<std::string>()));
    }
    return out;
}

// Who exits, whoever says how probable the most probable class is.
void test_gate(const json& golden) {
    for (const json& entry : golden) {
        const StageAnswers given{floats(entry["logits"]), floats(entry["confidence"])};
        for (std::size_t i = 0; i < entry["etas"].size(); ++i) {
            const double eta = entry["etas"][i], highest = classify(given, given.logits.size(), eta)[0];
            EQUAL(std::isnan(highest) ? json() : json(highest > eta), entry["exits"][i], eta, " ", entry);
        }
    }
    CHECK(classify({}, 3, 0.5).empty());
}

void test_tokens(const json& golden) {
    for (const json& entry : golden["targets"]) {
        const auto call = [&] { return num_targets(entry[0], entry[1], entry[2]); };
        if (entry[3].is_null()) {
            REFUSES(usage, "alpha", call());
        } else {
            EQUAL(call(), entry[3], entry);
        }
    }
    for (const json& entry : golden["window_targets"]) {
        const auto call = [&] { return num_targets(entry[0], entry[1], entry[2], entry[3]); };
        if (entry[4].is_null()) {
            REFUSES(usage, "alpha", call());
        } else {
            EQUAL(call(), entry[4], entry);
        }
    }
    for (const json& entry : golden["select"]) {
        const std::vector<float> scores = entry["scores"];
        const auto targets = select_targets(scores.data(), scores.size(), entry["count"]);
        EQUAL(json(targets), entry["targets"], entry);
        EQUAL(json(child_positions(targets, entry["grid"])), entry["children"], entry);
    }
    for (const json& entry : golden["window"]) {
        const std::vector<float> scores = entry["scores"];
        Config config;
        config.geometry.image_size = 2 * config.geometry.patch_size * entry["grid"].get<std::int64_t>();
        config.method.selection = "window";
        config.method.region_size = entry["side"];
        config.method.alpha = entry["alpha"];
        config.method.rounding = "ceil";
        EQUAL(json(window_sums(scores.data(), entry["grid"], entry["side"])), entry["sums"], entry);
        EQUAL(config.num_targets(), entry["count"], entry);
        EQUAL(json(choose_targets(scores.data(), entry["count"], config)), entry["targets"], entry);
    }
    for (const json& entry : golden["softmax"]) {
        const std::vector<float> logits = entry["logits"];
        const std::vector<double> actual = softmax(logits.data(), logits.size()), expected = entry["probabilities"];
        for (std::size_t i = 0; i < actual.size(); ++i) {
            CHECK(std::fabs(actual[i] - expected[i]) <= 1e-14 * expected[i], actual[i], " ", expected[i]);
        }
    }
    test_gate(golden["gate"]);
    for (const json& entry : golden["precision"]) {
        EQUAL(choose_precision(entry[0], entry[1], entry[2]), entry[3], entry);
    }
}

void test_texts(const json& golden) {
    for (const json& entry : golden["numbers"]) {
        EQUAL(json_number(entry[0], 6), entry[2], entry);
        EQUAL(json_number(entry[0], 3), entry[3], entry);
    }
    for (const json& entry : golden["texts"]) {
        EQUAL(json_string(entry[0].get<std::string>()), entry[1], entry);
    }
    EQUAL(json_string("a\xFF\xC3(\xED\xA0\x80"), "\"a\\udcff\\udcc3(\\udced\\udca0\\udc80\"");  // no UTF-8
    CHECK(split_lines("").empty());
    EQUAL(json(split_lines("a\nb\r\n\nc")), json({"a", "b", "", "c"}));
    EQUAL(json(split_lines("\n\n")), json({"", ""}));
    EQUAL(first_line("one\ntwo") + first_line("three") + first_line(""), "onethree");
    EQUAL(lower_case("CUDAExecutionProvider") + joined({"a", "b"}) + joined({}), "cudaexecutionprovidera, b");
    CHECK(is_utf8("\xC3\xBC") && !is_utf8("\xC3") && !is_utf8("\xC0\x80") && !is_utf8("\xF4\x90\x80\x80"));
}

void test_devices() {
    CHECK(parse_device("").is_cpu() && parse_device("CPUExecutionProvider").is_cpu());
    EQUAL(parse_device("CUDA").provider + text(parse_device("cuda:0").number, parse_device("cuda:12").number),
          "cuda012");
    EQUAL(parse_device("WebGpuExecutionProvider").provider + parse_device("webgpu").provider, "webgpuwebgpu");
    EQUAL(parse_device("cpu:0").provider + text(parse_device("webgpu:1").number), "cpu1");
    for (const char* name : {":", ":1", "cuda:", "cuda:x", "cuda:-1", "cuda:1 ", "cuda:99999999999"}) {
        REFUSES(usage, text("--device ", name, ": a device is cpu, cuda"), parse_device(name));
    }
    REFUSES(usage, "there is one processor", parse_device("cpu:1"));
    EQUAL(device_failure("what else may fail"), "");
    CHECK(device_failure("FAIL : Failed to load library /a.so with error: libb.so.9: cannot open\n")
              .find("can't load (libb.so.9: cannot open); CUDA's libraries") != std::string::npos);
    CHECK(device_failure("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1")
              .find("no NVIDIA GPU") != std::string::npos);
    CHECK(device_failure("... was false. Failed to get a WebGPU adapter: none").find("Vulkan") != std::string::npos);
    CHECK(device_failure("Program Cast requires f16 but the device does not").find("--precision fp32") !=
          std::string::npos);
    CHECK(device_failure("[Invalid Buffer (unlabeled)] is invalid due to a previous error.").find("--batch") !=
          std::string::npos);
    CHECK(device_failure("VK_ERROR_OUT_OF_DEVICE_MEMORY").find("--batch") != std::string::npos);
    CHECK(device_failure("A valid external Instance... Device lost (unknown)").find("was lost") != std::string::npos);
}

void test_views_refused() {
    const std::uint8_t pixel[4] = {};
    const auto with = [&](int width, int height, std::ptrdiff_t pitch, const std::uint8_t* data) {
        fit({data, width, height, pitch, sacvit::PixelFormat::rgb}, 32, {}, "the image");
    };
    REFUSES(image, "has no pixels (0x1)", with(0, 1, 3, pixel));
    REFUSES(image, "has no pixels (1x-1)", with(1, -1, 3, pixel));
    REFUSES(usage, "a pitch of 2 bytes", with(1, 1, 2, pixel));
    REFUSES(usage, "has no data", with(1, 1, 3, nullptr));
    REFUSES(usage, "unknown pixel format",
            fit({pixel, 1, 1, 4, static_cast<sacvit::PixelFormat>(9)}, 32, {}, "the image"));
    const Limits by_default = limits(), small = limits(50, 1);
    const auto refusal = [&](int width, int height, const Limits& bounds) {
        const std::optional<sacvit::Error> error =
            prepare(sacvit::ImageView{pixel, width, height, 60000, sacvit::PixelFormat::rgb}, {}, bounds).error;
        return std::string(error ? error->what() : "");
    };
    EQUAL(
        refusal(20000, 20000, by_default),
        "the image has 20000x20000 pixels, over the limit of 110000000; --max-pixels (Options::max_pixels) raises it");
    EQUAL(refusal(51, 1, small),
          "the image has 51x1 pixels, over the limit of 50; --max-pixels (Options::max_pixels) raises it");
    EQUAL(refusal(1, 1, small),
          "the image has 1x1 pixels and would take about 8 MB to decode, over the limit of 1 MB for one image; "
          "--max-memory (Options::max_memory) raises it");
    REFUSES(usage, "max_memory is -1", limits(0, -1));
    for (const double eta : {-0.1, 1.1, std::nan("")}) {
        REFUSES(usage, "it must lie between 0 and 1", check_eta(eta));
    }
}

}  // namespace

int main(int, char** argv) {
    std::ifstream file(argv[1]);
    const json golden = json::parse(file);
    test_fit(golden);
    test_mix();
    test_views(golden);
    test_tokens(golden);
    test_texts(golden);
    test_devices();
    test_views_refused();
    return check::result();
}
