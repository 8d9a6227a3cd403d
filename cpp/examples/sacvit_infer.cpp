// sacvit_infer: files, folders and globs in, labels out. Prints what the Python command sacvit-infer prints.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <new>
#include <string>
#include <system_error>

#include "arguments.hpp"
#include "sacvit/sacvit.hpp"

namespace {

constexpr std::size_t kFew = 8;  // images, up to which packing the weights takes longer than it saves

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Filled up with blanks to `width` characters of UTF-8.
std::string padded(const std::string& value, std::size_t width, bool right = false) {
    const auto count = static_cast<std::size_t>(
        std::count_if(value.begin(), value.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
    const std::string blanks(width > count ? width - count : 0, ' ');
    return right ? blanks + value : value + blanks;
}

void print_row(const std::string& image, const std::string& label, const std::string& probability,
               const std::string& stage, const std::string& spent) {
    std::string row = padded(image, 36) + ' ' + padded(label, 20) + ' ' + padded(probability, 6, true) + "  " +
                      padded(stage, 5) + ' ' + padded(spent, 8, true);
    row.erase(row.find_last_not_of(' ') + 1);
    std::printf("%s\n", row.c_str());
}

// With a point, whatever the locale.
std::string fixed(double value, int digits) {
    char buffer[400];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, digits).ptr};
}

// Throws sacvit::Error unless all that was printed has arrived: a full disk keeps the rest.
void flush_output() {
    errno = 0;
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        const int reason = errno != 0 ? errno : EIO;
        throw sacvit::Error(sacvit::ErrorCode::image,
                            "can't write the output: " + std::generic_category().message(reason));
    }
}

// A path that fits the column: whole, or its end, cut at a folder where that leaves the name whole.
std::string shortened(const std::string& path) {
    if (path.size() <= 36) {
        return path;
    }
    const std::string name = path.substr(path.rfind('/') + 1);
    return name.size() <= 32 ? ".../" + name : "..." + path.substr(path.size() - 33);
}

// What the images are asked with, the bundle's defaults included.
struct Asked {
    double eta, alpha;
};

std::string shortest(double value) {
    char buffer[32];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

void show(const sacvit::Prediction& prediction, int topk, bool json, const Asked& asked) {
    if (json) {
        std::string object = prediction.to_json(topk);
        object.pop_back();  // the closing brace
        std::printf("%s, \"eta\": %s, \"alpha\": %s}\n", object.c_str(), shortest(asked.eta).c_str(),
                    shortest(asked.alpha).c_str());
        return;
    }
    const char* stage = prediction.stage == 1 ? "1 EE" : "2 SAC";
    bool first = true;
    for (const auto& [index, probability] : prediction.topk(topk)) {
        print_row(first ? sacvit::printable(shortened(prediction.source)) : "",
                  sacvit::printable((*prediction.labels)[static_cast<std::size_t>(index)]),
                  fixed(100.0 * static_cast<double>(probability), 1) + '%', first ? stage : "",
                  first ? fixed(1000 * prediction.timing.total(), 1) : "");
        first = false;
    }
}

void show_error(const std::string& path, const sacvit::Error& error, bool json) {
    if (json) {
        std::printf("{\"source\": %s, \"error\": %s}\n", sacvit::json_string(path).c_str(),
                    sacvit::json_string(error.what()).c_str());
    } else {
        flush_output();
        std::fprintf(stderr, "Error: %s\n", error.what());
    }
}

void summary(std::size_t count, std::size_t failed, std::size_t continued, double opening, double running) {
    const std::size_t answered = count - failed;
    std::printf("%zu image%s", count, count == 1 ? "" : "s");
    if (failed != 0) {
        std::printf("; %zu failed", failed);
    }
    if (answered != 0) {
        const double share = 100.0 * static_cast<double>(continued) / static_cast<double>(answered);
        std::printf("; %zu exited at stage 1, %zu continued (%s%%)", answered - continued, continued,
                    fixed(share, 0).c_str());
    }
    std::printf("; opened in %s s, %s images/s\n", fixed(opening, 2).c_str(),
                fixed(static_cast<double>(answered) / running, 1).c_str());
}

int run(Arguments arguments) {
    const std::vector<std::string> paths = expand(arguments.images);
    const std::string bundle = arguments.bundle.empty() ? find_bundle(paths) : arguments.bundle;
    const double start = seconds();
    arguments.options.weights = paths.size() <= kFew ? sacvit::Weights::mapped : sacvit::Weights::packed;
    const sacvit::Model model(bundle, arguments.options);
    const Asked asked{arguments.gate.eta.value_or(model.eta()), arguments.gate.alpha.value_or(model.alpha())};
    if (!arguments.json) {
        std::fprintf(::isatty(STDOUT_FILENO) ? stdout : stderr, "%s: %s on %s; eta %s, alpha %s\n",
                     sacvit::printable(bundle).c_str(), model.precision().c_str(), model.description().c_str(),
                     shortest(asked.eta).c_str(), shortest(asked.alpha).c_str());
        print_row("image", "label", "prob", "stage", "ms");
    }
    const double opened = seconds();
    sacvit::StreamOptions options;
    options.batch_size = static_cast<int>(std::min(static_cast<std::size_t>(arguments.batch), paths.size()));
    std::size_t at = 0, failed = 0, continued = 0, shown = 0;
    sacvit::Stream answers = model.stream(
        [&]() -> std::optional<sacvit::Source> {
            return at < paths.size() ? std::optional<sacvit::Source>(paths[at++]) : std::nullopt;
        },
        options, arguments.gate);
    while (const std::optional<sacvit::Result> result = answers.next()) {
        if (const auto* prediction = std::get_if<sacvit::Prediction>(&*result)) {
            continued += prediction->stage == 2;
            show(*prediction, arguments.topk, arguments.json, asked);
        } else {
            ++failed;
            show_error(paths[shown], std::get<sacvit::Error>(*result), arguments.json);
        }
        ++shown;
        flush_output();
    }
    if (!arguments.json) {
        summary(paths.size(), failed, continued, opened - start, seconds() - opened);
        flush_output();
    }
    return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        Arguments arguments = parse_arguments(argc, argv);
        if (arguments.help) {
            const std::string version = std::string("sacvit ") + sacvit::version() + "\n";
            std::fputs(std::string(argv[argc - 1]) == "--version" ? version.c_str() : kUsage, stdout);
            flush_output();
            return 0;
        }
        return run(std::move(arguments));
    } catch (const std::bad_alloc&) {
        std::fputs("Error: out of memory; ask for smaller batches with --batch\n", stderr);
        return 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "Error: %s\n", sacvit::printable(error.what()).c_str());
        const auto* own = dynamic_cast<const sacvit::Error*>(&error);
        return own != nullptr && own->code() == sacvit::ErrorCode::usage ? 2 : 1;
    }
}
