// The application's locale has no say in numbers: JSON, messages and manifests have points. argv: BUNDLE IMAGE.
#include <clocale>
#include <cstdio>
#include <locale>
#include <string>
#include <vector>

#include "check.hpp"
#include "sacvit/sacvit.hpp"
#include "text.hpp"

namespace {

// 1.234,5: what a German reader expects, and no reader of JSON.
class Commas : public std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

// Everything the library writes or reads with numbers in it, but for times.
std::vector<std::string> outputs(const char* bundle, const char* image) {
    std::vector<std::string> out;
    const auto refused = [&](const sacvit::Model& model, const sacvit::Source& source, const sacvit::Gate& gate) {
        try {
            model.predict(source, gate);
            out.push_back("no error");
        } catch (const sacvit::Error& error) {
            out.push_back(error.what());
        }
    };
    const sacvit::Model model(bundle);
    for (const sacvit::Gate& gate : {sacvit::Gate{0.0}, sacvit::Gate{1.0, 0.4}}) {
        sacvit::Prediction p = model.predict(image, gate);
        p.timing = {0.0012345, 1234.5678, 0, 0.00000012, 1};
        out.push_back(p.to_json(60));
    }
    out.push_back(sacvit::detail::text(model.eta(), ' ', model.alpha(), ' ', 1234567, ' ', 1e-7, ' ', 1.0 / 3));
    out.push_back(sacvit::detail::joined(std::vector<double>{0.5, 12345.25}));
    refused(model, image, {1.5});
    refused(model, image, {0.5, 0.0125});
    const std::vector<std::uint8_t> pixels(3 * 12345);
    refused(model, sacvit::ImageView{pixels.data(), 12345, 1, 12345, sacvit::PixelFormat::rgb}, {});
    return out;
}

void same(const std::vector<std::string>& actual, const std::vector<std::string>& expected, const char* where) {
    EQUAL(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        EQUAL(actual[i], expected[i], where);
    }
}

}  // namespace

int main(int, char** argv) {
    const std::vector<std::string> expected = outputs(argv[1], argv[2]);
    CHECK(expected[0].find("\"probability\": 0.") != std::string::npos, expected[0]);
    CHECK(expected[0].find("\"preprocess\": 1234567.8,") != std::string::npos, expected[0]);
    EQUAL(expected[4], "eta is 1.5; it must lie between 0 and 1");
    EQUAL(expected[6], "the image has rows of 12345 pixels, but a pitch of 12345 bytes");

    const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Commas));
    std::ostringstream shown;
    shown << 1234.5;
    EQUAL(shown.str(), "1.234,5");  // what this test is about
    same(outputs(argv[1], argv[2]), expected, "std::locale");
    std::locale::global(before);

    const char* found = nullptr;
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"}) {
        found = found == nullptr ? std::setlocale(LC_ALL, name) : found;
    }
    if (found == nullptr) {
        std::printf("not run: setlocale; there is no locale with commas here, and none can be compiled\n");
    } else {
        char comma[16];
        std::snprintf(comma, sizeof comma, "%.1f", 0.5);
        EQUAL(std::string(comma), "0,5");
        same(outputs(argv[1], argv[2]), expected, found);
        EQUAL(std::string(std::setlocale(LC_NUMERIC, nullptr)), found);  // and it is still the application's
    }
    return check::result();
}
