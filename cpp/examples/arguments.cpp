#include "arguments.hpp"

#include <cstdlib>
#include <functional>
#include <map>

namespace {

using sacvit::Error;
using sacvit::ErrorCode;

double real(const std::string& option, const std::string& value) {
    char* end = nullptr;
    const double out = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0') {
        throw Error(ErrorCode::usage, "invalid value for " + option + ": '" + value + "' is not a number");
    }
    return out;
}

int positive(const std::string& option, const std::string& value) {
    char* end = nullptr;
    const long out = std::strtol(value.c_str(), &end, 10);
    if (value.empty() || *end != '\0' || out < 1 || out > 1 << 20) {
        throw Error(ErrorCode::usage, "invalid value for " + option + ": '" + value + "' is not a number from 1 up");
    }
    return static_cast<int>(out);
}

}  // namespace

const char* const kUsage =
    "Usage: sacvit_infer [OPTIONS] IMAGES...\n"
    "\n"
    "  Classify IMAGES: JPEG and PNG files, folders of them, or quoted globs.\n"
    "\n"
    "  --bundle FOLDER     The bundle.  [default: the one nearby, found as by sacvit-infer]\n"
    "  --eta P             Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]\n"
    "  --alpha SHARE       Share of tokens that stage 2 sees at full resolution.  [default: the bundle's]\n"
    "  --topk K            Classes shown for each image.  [default: 1]\n"
    "  --batch N           Images in an engine call.  [default: 32]\n"
    "  --json              Print one line of JSON for each image.\n"
    "  --backend NAME      onnxruntime, or tensorrt where it was built in.  [default: onnxruntime]\n"
    "  --provider NAME     ONNX Runtime execution provider: cpu, cuda or a full name.  [default: cpu]\n"
    "  --precision NAME    Variant: auto, fp32, fp16, int8.  [default: auto]\n"
    "  --threads N         CPU threads.  [default: one for each core]\n"
    "  --ort PATH          libonnxruntime.so or its folder.\n"
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
        {"--provider", [&](auto&, auto& value) { out.options.provider = value; }},
        {"--precision", [&](auto&, auto& value) { out.options.precision = value; }},
        {"--threads", [&](auto& name, auto& value) { out.options.threads = positive(name, value); }},
        {"--ort", [&](auto&, auto& value) { out.options.library = value; }},
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
                throw Error(ErrorCode::usage, "no such option: " + name + "; see --help");
            }
            if (equals == argument.npos && i + 1 == argc) {
                throw Error(ErrorCode::usage, name + " needs a value");
            }
            option->second(name, equals == argument.npos ? argv[++i] : argument.substr(equals + 1));
        }
    }
    if (out.images.empty()) {
        throw Error(ErrorCode::usage, "missing argument 'IMAGES...'; see --help");
    }
    return out;
}
