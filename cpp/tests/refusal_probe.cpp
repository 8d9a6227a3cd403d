// For compare_refusals.py: reads lines of six fields with tabs between them, BUNDLE IMAGE PRECISION DEVICE ETA ALPHA,
// opens the bundle and classifies the image. Prints the error's kind (0: none, else sacvit::ErrorCode), a tab, the
// message. An empty field is the default.
#include <array>
#include <iostream>
#include <sstream>
#include <string>

#include "sacvit/sacvit.hpp"

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        std::array<std::string, 6> fields;
        for (std::string& field : fields) {
            std::getline(in, field, '\t');
        }
        const auto& [bundle, image, precision, device, eta, alpha] = fields;
        try {
            sacvit::Options options;
            options.precision = precision;
            options.device = device;
            options.weights = sacvit::Weights::mapped;
            sacvit::Gate gate;
            if (!eta.empty()) {
                gate.eta = std::stod(eta);
            }
            if (!alpha.empty()) {
                gate.alpha = std::stod(alpha);
            }
            sacvit::Model(bundle, options).predict(image, gate);
            std::cout << "0\t" << std::endl;
        } catch (const sacvit::Error& error) {
            std::cout << static_cast<int>(error.code()) << '\t' << error.what() << std::endl;
        }
    }
}
