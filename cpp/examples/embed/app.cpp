#include <cstdio>
#include <vector>

#include <sacvit/sacvit.h>
#include <sacvit/sacvit.hpp>

// app BUNDLE IMAGE: one image from a file, and a camera's buffer.
int main(int, char** argv) {
    try {
        const sacvit::Model model(argv[1]);
        const sacvit::Prediction p = model.predict(argv[2], {0.6});
        std::printf("%s %.3f stage %d\n", p.label().c_str(), static_cast<double>(p.probability()), p.stage);

        const std::vector<std::uint8_t> buffer(480 * 2048, 128);  // 640 x 480 BGR, rows 2048 bytes apart
        const sacvit::ImageView frame{buffer.data(), 640, 480, 2048, sacvit::PixelFormat::bgr};
        std::printf("%s\n", model.predict(frame, {1.0}).to_json().c_str());
        for (const sacvit::Result& result : model.predict_batch({frame, "none.jpg"})) {
            if (const auto* error = std::get_if<sacvit::Error>(&result)) {
                std::printf("error %d: %s\n", static_cast<int>(error->code()), error->what());
            }
        }
        return 0;
    } catch (const sacvit::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
