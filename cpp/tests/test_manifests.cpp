// Thousands of changed manifests, sealed again as somebody who means harm would: each opens and answers, or is refused
// by one sacvit::Error. Also documents and plan records that were written to hurt. argv: BUNDLE IMAGE COUNT.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "bundle/plans.hpp"
#include "bundle_copy.hpp"
#include "check.hpp"

namespace {

namespace fs = std::filesystem;

constexpr double kSlow = 30;  // seconds that one case may take on a busy machine

sacvit::Options quick() {
    sacvit::Options out;
    out.threads = 1;
    out.weights = sacvit::Weights::mapped;
    return out;
}

// Values that are likely to hurt where another one belongs.
const std::vector<json>& nasty() {
    static const std::vector<json> values = [] {
        json deep = json::array();
        for (int i = 0; i < 500; ++i) {
            deep = json::array({std::move(deep)});
        }
        std::vector<json> out = {nullptr,
                                 true,
                                 0,
                                 1,
                                 -1,
                                 2,
                                 3,
                                 7,
                                 16,
                                 32,
                                 64,
                                 223,
                                 256,
                                 8192,
                                 8193,
                                 1 << 20,
                                 1 << 30,
                                 INT64_MAX,
                                 INT64_MIN,
                                 UINT64_MAX,
                                 0.0,
                                 -0.0,
                                 0.5,
                                 1.0,
                                 1e-300,
                                 1e-7,
                                 1e300,
                                 1e308,
                                 -1e308,
                                 "",
                                 "x",
                                 "..",
                                 "../labels.txt",
                                 "/etc/passwd",
                                 "labels.txt",
                                 "ee.int8.onnx",
                                 "weights.int8.bin",
                                 "manifest.json",
                                 "\n\x1b[2J",
                                 "bicubic",
                                 "window",
                                 "features",
                                 "ceil",
                                 json::array(),
                                 json::object(),
                                 json::array({1, 2, 3}),
                                 json::array({0.5, 0.5, 0.5}),
                                 json::array({1e-300, 1, 1}),
                                 json::array({0.5, 0.5, 1e-6}),
                                 std::string(100000, 'a'),
                                 std::string("\xFF\xC0", 2),
                                 std::string("a\0b", 3)};
        out.push_back(std::move(deep));
        return out;
    }();
    return values;
}

// Every value of a document, the document itself included.
void collect(json& value, std::vector<json*>& out) {
    out.push_back(&value);
    if (value.is_structured()) {
        for (auto& item : value) {
            collect(item, out);
        }
    }
}

json mutated(json document, std::mt19937& random) {
    const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
        std::vector<json*> all;
        collect(document, all);
        json& at = *all[below(all.size())];
        switch (below(5)) {
            case 0:
            case 1: at = nasty()[below(nasty().size())]; break;
            case 2: at = json(*all[below(all.size())]); break;
            case 3:
                if (at.is_object() && !at.empty()) {
                    at.erase(std::next(at.begin(), static_cast<std::ptrdiff_t>(below(at.size()))).key());
                } else if (at.is_number_integer()) {
                    at = at.get<std::int64_t>() + static_cast<std::int64_t>(below(64)) - 32;
                } else if (at.is_number()) {
                    at = at.get<double>() * std::pow(10.0, static_cast<double>(below(80)) - 40);
                }
                break;
            default:
                if (at.is_object()) {
                    at["more"] = nasty()[below(nasty().size())];
                } else if (at.is_string()) {
                    std::string text = at.get<std::string>();
                    text.insert(below(text.size() + 1), 1, static_cast<char>(below(128)));
                    at = text;
                }
        }
        if (!document.is_object()) {
            return document;
        }
    }
    return document;
}

enum class End { answered, refused_image, refused };

// Opens and asks. Anything but an answer or an Error in one line is a failure.
End ask(const fs::path& bundle, const std::string& image, const std::string& what) {
    const auto start = std::chrono::steady_clock::now();
    End end = End::refused;
    try {
        const sacvit::Model model(bundle.string(), quick());
        end = End::refused_image;
        for (const double eta : {0.0, 1.0}) {
            const std::string line = model.predict(image, {eta}).to_json(3);
            CHECK(json::accept(line), line);
        }
        end = End::answered;
    } catch (const sacvit::Error& error) {
        const std::string message = error.what();
        CHECK(!message.empty() && message.size() < 100000 && sacvit::printable(message) == message, message);
    } catch (const std::exception& error) {
        CHECK(false, error.what(), " for ", what.substr(0, 20000));
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    CHECK(spent.count() < kSlow, spent.count(), " s for ", what.substr(0, 20000));
    return end;
}

void test_mutations(const fs::path& bundle, const std::string& image, int count) {
    const Copy copy(bundle);
    json good = json::parse(read(bundle / "manifest.json"));
    good["provenance"] = json::object();  // most of a manifest, but nothing reads it
    for (auto& [precision, variant] : good["variants"].items()) {
        variant = {{"files", variant["files"]}, {"eta", 0.5}};
    }
    CHECK(ask(bundle, image, "the bundle itself") == End::answered);
    std::mt19937 random(1);
    std::map<End, int> ends;
    for (int i = 0; i < count; ++i) {
        const json changed = mutated(good, random);
        const std::string raw =
            changed.is_object() ? sealed(changed) : changed.dump(1, ' ', false, json::error_handler_t::replace);
        copy.put("manifest.json", raw);
        // What a crash leaves behind to look at.
        if (const char* last = std::getenv("SACVIT_LAST_INPUT")) {
            std::ofstream(last, std::ios::binary) << raw;
        }
        ++ends[ask(copy.path, image, raw)];
    }
    std::printf("%d manifests: %d opened and answered, %d opened and refused the image, %d were refused\n", count,
                ends[End::answered], ends[End::refused_image], ends[End::refused]);
    CHECK(ends[End::answered] > 0 && ends[End::refused] > 0);
}

void test_limits(const fs::path& bundle, const std::string& image) {
    const Copy copy(bundle);
    const auto refused = [&](const std::string& words, const std::function<void(json&)>& edit) {
        copy.put("manifest.json", read(bundle / "manifest.json"));
        copy.edit(edit);
        REFUSES(bundle, words, sacvit::Model(copy.path.string(), quick()).predict(image));
    };
    refused("image_size can't be 1048576", [](json& m) { m["geometry"]["image_size"] = 1 << 20; });
    refused("image_size can't be 8224", [](json& m) { m["geometry"]["image_size"] = 8224; });
    refused("patch_size can't be 2048", [](json& m) { m["geometry"]["patch_size"] = 2048; });
    refused("width can't be 65537", [](json& m) { m["geometry"]["width"] = 65537; });
    refused("image_size can't be 18446744073709551615", [](json& m) { m["geometry"]["image_size"] = UINT64_MAX; });
    refused("preprocessing.std can't be [9e-07,1,1]", [](json& m) { m["preprocessing"]["std"] = {9e-7, 1, 1}; });
    refused("preprocessing.std", [](json& m) { m["preprocessing"]["std"] = {1, 1, 1048577}; });
    refused("preprocessing.mean", [](json& m) { m["preprocessing"]["mean"] = {-1048577, 1, 1}; });
    refused("preprocessing.mean", [](json& m) { m["preprocessing"]["mean"] = {1, 1e308, 1}; });
    refused("the size of labels.txt is not a whole number of bytes", [](json& m) { m["labels"]["bytes"] = -1; });
    refused("the size of labels.txt is not a whole number of bytes",
            [](json& m) { m["labels"]["bytes"] = UINT64_MAX; });
    refused("labels.txt is too large", [](json& m) { m["labels"]["bytes"] = INT64_MAX; });
    refused("ee.int8.onnx has ", [](json& m) { m["variants"]["int8"]["files"]["ee"]["bytes"] = INT64_MAX; });
    refused("written by a newer sacvit-deploy", [](json& m) { m["schema"] = UINT64_MAX; });
    refused("nested too deeply", [](json& m) { m["preprocessing"]["mean"] = nasty().back(); });
    // A size that the engines don't have is refused before an image of that size is made.
    copy.put("manifest.json", read(bundle / "manifest.json"));
    copy.edit([](json& m) { m["geometry"]["image_size"] = 8192; });
    REFUSES(backend, "takes `image` of [-1, 3, 112, 112], the manifest's geometry gives [-1, 3, 4096, 4096]",
            sacvit::Model(copy.path.string(), quick()));

    for (const std::string& raw : {std::string(), std::string("{}"), std::string(3000000, '['), std::string(100, '\0'),
                                   "{\"a\":" + std::string(1000000, '[') + std::string(1000000, ']') + "}",
                                   "[" + std::string(1000000, '9') + "]"}) {
        copy.put("manifest.json", raw);
        REFUSES(bundle, "manifest.json", sacvit::Model(copy.path.string(), quick()));
    }
}

// Hidden plan folders are of builds under way, or of killed ones.
void test_plans(const fs::path& bundle) {
    const Copy copy(bundle);
    const sacvit::detail::BuildTarget here{"tensorrt", "10.3.0", "GPU", "8.7"};
    const sacvit::detail::Bundle opened = sacvit::detail::open_bundle(copy.path.string());
    const auto find = [&] { sacvit::detail::find_plans(opened, "int8", here); };
    fs::create_directories(copy.path / "plans" / ".int8.partial-1");
    copy.put("plans/.int8.partial-1/plan.json", "{");
    REFUSES(bundle, "it has no int8 plans for tensorrt", find());
    EQUAL(sacvit::detail::precisions_with_plans(opened, here).size(), 0u);
    fs::create_directories(copy.path / "plans" / "int8");
    std::mt19937 random(2);
    const json entry_of_labels = entry("labels.txt", read(bundle / "labels.txt"));
    const json plan = {{"file", entry_of_labels}, {"onnx", {{"ee.int8.onnx", std::string(64, '0')}}}};
    const json good = {
        {"schema", 1},
        {"precision", "int8"},
        {"place", {{"runtime", "tensorrt"}, {"version", "10.3.0"}, {"device", "GPU"}, {"capabilities", {"8.7"}}}},
        {"plans", {{"ee", plan}, {"sac", plan}}}};
    copy.put("plans/int8/plan.json", sealed(good));
    REFUSES(bundle, "built from another ee.int8.onnx than the bundle has now", find());
    for (int i = 0; i < 1000; ++i) {
        const json changed = mutated(good, random);
        copy.put("plans/int8/plan.json",
                 changed.is_object() ? sealed(changed) : changed.dump(1, ' ', false, json::error_handler_t::replace));
        REFUSES(bundle, "", find());
    }
}

}  // namespace

int main(int, char** argv) {
    ::alarm(1400);  // whatever waits for ever fails
    test_limits(argv[1], argv[2]);
    test_plans(argv[1]);
    test_mutations(argv[1], argv[2], std::stoi(argv[3]));
    return check::result();
}
