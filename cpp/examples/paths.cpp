#include "paths.hpp"

#include <glob.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "sacvit/sacvit.hpp"

namespace fs = std::filesystem;
using sacvit::Error;
using sacvit::ErrorCode;

namespace {

bool is_image(const fs::path& path) {
    std::string suffix = path.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
    return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png";
}

std::vector<std::string> matches(const std::string& pattern) {
    if (pattern.find("**") != pattern.npos) {
        throw Error(ErrorCode::usage, pattern + ": ** is not understood here; name the folders");
    }
    glob_t matched{};
    std::vector<std::string> out;
    if (::glob(pattern.c_str(), 0, nullptr, &matched) == 0) {
        for (std::size_t i = 0; i < matched.gl_pathc; ++i) {
            if (!fs::is_directory(matched.gl_pathv[i])) {
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

std::vector<std::string> expand(const std::vector<std::string>& arguments) {
    std::vector<std::string> out;
    std::error_code error;
    for (const std::string& argument : arguments) {
        std::vector<std::string> paths;
        if (fs::is_directory(argument, error)) {
            for (const auto& entry : fs::directory_iterator(argument, error)) {
                if (is_image(entry.path())) {
                    paths.push_back((fs::path(argument) / entry.path().filename()).lexically_normal().string());
                }
            }
            if (paths.empty()) {
                throw Error(ErrorCode::usage,
                            "no images in the folder " + argument + " (looked for .jpg, .jpeg, .png)");
            }
        } else if (argument.find_first_of("*?[") != argument.npos && !fs::exists(argument, error)) {
            paths = matches(argument);
            if (paths.empty()) {
                throw Error(ErrorCode::usage, "nothing matches " + argument);
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
            throw Error(ErrorCode::bundle,
                        place->string() + " has several bundles (" + names + "); choose one with --bundle");
        }
    }
    throw Error(ErrorCode::bundle,
                "no *.sacvit bundle in the current folder, beside the images or in the folder above them; name one "
                "with --bundle or $SACVIT_BUNDLE, or make one with: sacvit-export --ckpt model.pth");
}
