#include "arguments.hpp"

#include <glob.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string_view>
#include <system_error>

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& message, sacvit::ErrorCode code = sacvit::ErrorCode::usage) {
    throw sacvit::Error(code, message);
}

double real(const std::string& option, const std::string& value) {
    double out = 0;
    const std::string_view digits = std::string_view(value).substr(value.rfind('+', 0) == 0 ? 1 : 0);
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (end.ec != std::errc() || end.ptr != digits.data() + digits.size()) {
        fail("invalid value for " + option + ": '" + value + "' is not a number");
    }
    return out;
}

int positive(const std::string& option, const std::string& value, int most = 1 << 20) {
    int out = 0;
    const auto end = std::from_chars(value.data(), value.data() + value.size(), out);
    if (end.ec != std::errc() || end.ptr != value.data() + value.size() || out < 1 || out > most) {
        fail("invalid value for " + option + ": '" + value + "' is not a number from 1 up");
    }
    return out;
}

bool is_image(const fs::path& path) {
    std::string suffix = path.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".jfif" || suffix == ".png";
}

// Why a file found in a folder or by a glob is taken for no image: a pipe would keep its reader waiting, and cameras'
// cards have hidden files. Empty if it is one; a missing one is left to its reader.
std::string why_skipped(const fs::path& path) {
    if (path.filename().string().rfind('.', 0) == 0) {
        return "hidden";
    }
    std::error_code error;
    const fs::file_type kind = fs::status(path, error).type();
    return kind == fs::file_type::regular || kind == fs::file_type::not_found ? "" : "no regular file";
}

std::vector<std::string> matches(const std::string& pattern) {
    if (pattern.find("**") != pattern.npos) {
        fail(pattern + ": ** is not understood here; name the folders");
    }
    glob_t matched{};
    std::vector<std::string> out;
    if (::glob(pattern.c_str(), 0, nullptr, &matched) == 0) {
        for (std::size_t i = 0; i < matched.gl_pathc; ++i) {
            if (why_skipped(matched.gl_pathv[i]).empty()) {
                out.emplace_back(matched.gl_pathv[i]);
            }
        }
    }
    ::globfree(&matched);
    return out;
}

// The bundles in a folder, sorted.
std::vector<fs::path> bundles_in(const fs::path& folder) {
    std::vector<fs::path> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (entry.path().extension() == ".sacvit" && entry.is_directory(error)) {
            out.push_back(entry.path());
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

const char* const kUsage =
    "Usage: sacvit_infer [OPTIONS] IMAGES...\n"
    "\n"
    "  Classify IMAGES: JPEG and PNG files, folders of them, or quoted globs.\n"
    "\n"
    "  --bundle FOLDER     The bundle.  [default: the one nearby, found as by sacvit-infer]\n"
    "  --eta P             Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]\n"
    "  --alpha SHARE       Share of tokens (of the window's, if the model has one) that stage 2 sees in full.\n"
    "                      [default: the bundle's]\n"
    "  --topk K            Classes shown for each image.  [default: 1]\n"
    "  --batch N           Images in an engine call.  [default: 32]\n"
    "  --json              Print one line of JSON for each image.\n"
    "  --backend NAME      onnxruntime, or tensorrt where it was built in.  [default: onnxruntime]\n"
    "  --device NAME       cpu, cuda, cuda:N, webgpu, or another execution provider of ONNX Runtime.  [default: cpu]\n"
    "  --precision NAME    Variant: auto, fp32, fp16, int8.  [default: auto]\n"
    "  --threads N         CPU threads.  [default: one for each core]\n"
    "  --max-pixels N      Pixels that an image may have.  [default: 110 million]\n"
    "  --max-memory MB     Memory for images being decoded.  [default: 600 for one, 2400 or half of what is free for "
    "all]\n"
    "  --ort PATH          libonnxruntime.so or its folder.\n"
    "  --ep PATH           The library of a plugin execution provider, such as webgpu's.\n"
    "  --help, --version\n";

Arguments parse_arguments(int argc, char** argv) {
    Arguments out;
    const std::map<std::string, std::function<void(const std::string&, const std::string&)>> options = {
        {"--bundle", [&](auto&, auto& value) { out.bundle = value; }},
        {"--eta", [&](auto& name, auto& value) { out.gate.eta = real(name, value); }},
        {"--alpha", [&](auto& name, auto& value) { out.gate.alpha = real(name, value); }},
        {"--topk", [&](auto& name, auto& value) { out.topk = positive(name, value); }},
        {"--batch", [&](auto& name, auto& value) { out.batch = positive(name, value); }},
        {"--backend", [&](auto&, auto& value) { out.options.backend = value; }},
        {"--device", [&](auto&, auto& value) { out.options.device = value; }},
        {"--precision", [&](auto&, auto& value) { out.options.precision = value; }},
        {"--threads", [&](auto& name, auto& value) { out.options.threads = positive(name, value); }},
        {"--max-pixels", [&](auto& name, auto& value) { out.options.max_pixels = positive(name, value, INT_MAX); }},
        {"--max-memory", [&](auto& name, auto& value) { out.options.max_memory = positive(name, value); }},
        {"--ort", [&](auto&, auto& value) { out.options.library = value; }},
        {"--ep", [&](auto&, auto& value) { out.options.ep_library = value; }},
    };
    bool only_images = false;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (only_images || argument.size() < 2 || argument[0] != '-') {
            out.images.push_back(argument);
        } else if (argument == "--") {
            only_images = true;
        } else if (argument == "--json") {
            out.json = true;
        } else if (argument == "--help" || argument == "--version") {
            out.help = true;
            return out;
        } else {
            const std::size_t equals = argument.find('=');
            const std::string name = argument.substr(0, equals);
            const auto option = options.find(name);
            if (option == options.end()) {
                fail("no such option: " + name + "; see --help");
            }
            if (equals == argument.npos && i + 1 == argc) {
                fail(name + " needs a value");
            }
            option->second(name, equals == argument.npos ? argv[++i] : argument.substr(equals + 1));
        }
    }
    if (out.images.empty()) {
        fail("missing argument 'IMAGES...'; see --help");
    }
    return out;
}

std::vector<std::string> expand(const std::vector<std::string>& arguments) {
    std::vector<std::string> out;
    std::error_code error;
    for (const std::string& argument : arguments) {
        std::vector<std::string> paths;
        if (fs::is_directory(argument, error)) {
            for (const auto& entry : fs::directory_iterator(argument, error)) {
                if (is_image(entry.path()) && why_skipped(entry.path()).empty()) {
                    paths.push_back((fs::path(argument) / entry.path().filename()).lexically_normal().string());
                }
            }
            if (paths.empty()) {
                fail("no images in the folder " + argument + " (looked for .jpg, .jpeg, .jfif, .png)");
            }
        } else if (argument.find_first_of("*?[") != argument.npos && !fs::exists(argument, error)) {
            paths = matches(argument);
            if (paths.empty()) {
                fail("nothing matches " + argument);
            }
        } else {
            paths = {argument};
        }
        std::sort(paths.begin(), paths.end());
        out.insert(out.end(), paths.begin(), paths.end());
    }
    return out;
}

std::string find_bundle(const std::vector<std::string>& images) {
    if (const char* named = std::getenv("SACVIT_BUNDLE"); named != nullptr && *named != '\0') {
        return named;
    }
    std::error_code error;
    const fs::path here = fs::current_path();
    std::vector<fs::path> places = {here}, above;
    for (const std::string& image : images) {
        const fs::path folder = fs::is_directory(image, error) ? fs::path(image) : fs::path(image).parent_path();
        places.push_back(fs::weakly_canonical(here / folder, error));
        above.push_back(places.back().parent_path());
    }
    places.insert(places.end(), above.begin(), above.end());
    for (auto place = places.begin(); place != places.end(); ++place) {
        if (std::find(places.begin(), place, *place) != place) {
            continue;
        }
        const std::vector<fs::path> bundles = bundles_in(*place);
        if (bundles.size() == 1) {
            const fs::path shorter = bundles[0].lexically_relative(here);
            return !shorter.empty() && *shorter.begin() != ".." ? shorter.string() : bundles[0].string();
        }
        if (!bundles.empty()) {
            std::string names;
            for (const fs::path& path : bundles) {
                names += (names.empty() ? "" : ", ") + path.filename().string();
            }
            fail(place->string() + " has several bundles (" + names + "); choose one with --bundle",
                 sacvit::ErrorCode::bundle);
        }
    }
    fail(
        "no *.sacvit bundle in the current folder, beside the images or in the folder above them; name one with "
        "--bundle or $SACVIT_BUNDLE, or make one with: sacvit-export --ckpt model.pth",
        sacvit::ErrorCode::bundle);
}
