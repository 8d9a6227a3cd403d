// For compare_decode.py and tests/mutations: reads lines `SIZE CROP FILTER RESIZE ROUNDING PATH`, prints for each the
// bytes of memory that were reserved for the image, a tab, and the SHA-256 of its fitted pixels or `error: MESSAGE`.
#include <iostream>
#include <sstream>
#include <string>

#include "files.hpp"
#include "images/decode.hpp"
#include "images/preprocess.hpp"

int main() {
    using namespace sacvit::detail;
    const Limits bounds = limits();
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        int size = 0;
        Preprocessing recipe;
        std::string path;
        in >> size >> recipe.crop >> recipe.interpolation >> recipe.resize >> recipe.resize_rounding;
        std::getline(in >> std::ws, path);
        Share share(bounds);
        try {
            const Image image = decode_file(path, share);
            const Pixels pixels = fit(image.view(), size, recipe, path);
            const std::string hash = sha256({reinterpret_cast<const char*>(pixels.data()), pixels.size()});
            std::cout << share.held() << '\t' << hash << std::endl;
        } catch (const sacvit::Error& error) {
            std::cout << share.held() << "\terror: " << error.what() << std::endl;
        }
    }
}
