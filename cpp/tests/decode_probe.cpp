// For compare_decode.py: reads lines `SIZE CROP FILTER PATH`, prints for each the SHA-256 of the image's
// fitted pixels, or `error: MESSAGE`.
#include <iostream>
#include <sstream>
#include <string>

#include "files.hpp"
#include "images/decode.hpp"
#include "images/preprocess.hpp"

int main() {
    using namespace sacvit::detail;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        int size = 0;
        Preprocessing recipe;
        std::string path;
        in >> size >> recipe.crop >> recipe.interpolation;
        std::getline(in >> std::ws, path);
        try {
            const Image image = decode_file(path);
            const Pixels pixels = fit(image.view(), size, recipe, path);
            std::cout << sha256({reinterpret_cast<const char*>(pixels.data()), pixels.size()}) << std::endl;
        } catch (const sacvit::Error& error) {
            std::cout << "error: " << error.what() << std::endl;
        }
    }
}
