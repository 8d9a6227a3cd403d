// A bundle that was opened is held: whatever happens to its files later, answers stay the same to the last bit. Readers
// beside writers, reloading, files that are no regular ones, models that name other files. argv: BUNDLE OTHER IMAGES,
// where OTHER is another bundle.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "bundle_copy.hpp"
#include "check.hpp"

namespace fs = std::filesystem;

namespace {

sacvit::Options with(const std::string& precision, sacvit::Weights weights) {
    sacvit::Options out;
    out.precision = precision;
    out.weights = weights;
    out.threads = 1;
    return out;
}

// Stage, class, targets and every bit of the probabilities.
std::string answer(const sacvit::Model& model, const std::string& image, double eta) {
    const sacvit::Prediction p = model.predict(image, {eta});
    std::string out = p.label() + ' ' + std::to_string(p.stage);
    out.append(reinterpret_cast<const char*>(p.probabilities.data()), p.probabilities.size() * sizeof(float));
    out.append(reinterpret_cast<const char*>(p.targets.data()), p.targets.size() * sizeof(std::int64_t));
    return out;
}

std::vector<std::string> answers(const sacvit::Model& model, const std::vector<std::string>& images) {
    std::vector<std::string> out;
    for (const std::string& image : images) {
        out.push_back(answer(model, image, 0.0));
        out.push_back(answer(model, image, 1.0));
    }
    return out;
}

void for_each_file(const fs::path& folder, const std::function<void(const fs::path&)>& damage) {
    for (const auto& entry : fs::directory_iterator(folder)) {
        damage(entry.path());
    }
}

// What may happen to the files of a running service.
const std::vector<std::pair<const char*, std::function<void(const fs::path& bundle, const fs::path& other)>>> kHarms = {
    {"replaced",
     [](const fs::path& bundle, const fs::path& other) {
         fs::remove_all(bundle);
         fs::copy(other, bundle, fs::copy_options::recursive);
     }},
    {"overwritten with zeros",
     [](const fs::path& bundle, const fs::path&) {
         for_each_file(bundle, [](const fs::path& path) {
             const int file = ::open(path.c_str(), O_WRONLY);
             const std::string zeros(fs::file_size(path), '\0');
             CHECK(::write(file, zeros.data(), zeros.size()) == static_cast<ssize_t>(zeros.size()), path);
             ::close(file);
         });
     }},
    {"cut to nothing",
     [](const fs::path& bundle, const fs::path&) {
         for_each_file(bundle, [](const fs::path& path) { fs::resize_file(path, 0); });
     }},
    {"deleted", [](const fs::path& bundle, const fs::path&) { fs::remove_all(bundle); }},
};

void test_harms(const fs::path& bundle, const fs::path& other, const std::vector<std::string>& images) {
    const fs::path here = fs::current_path();
    for (const std::string precision : {"fp32", "fp16", "int8"}) {
        for (const auto weights : {sacvit::Weights::packed, sacvit::Weights::mapped}) {
            const auto expected = answers(sacvit::Model(bundle.string(), with(precision, weights)), images);
            for (const auto& [name, harm] : kHarms) {
                for (const bool begun : {false, true}) {  // before stage 2 is opened, and after
                    const Copy copy(bundle);
                    fs::current_path(copy.folder);
                    const sacvit::Model model(copy.path.filename().string(), with(precision, weights));
                    answer(model, images[0], begun ? 1.0 : 0.0);
                    fs::current_path("/");
                    harm(copy.path, other);
                    CHECK(answers(model, images) == expected, precision, ' ', name, ' ', begun);
                }
            }
        }
    }
    fs::current_path(here);
}

// A pipe where a file should be keeps nobody waiting.
void test_pipes(const fs::path& bundle, const std::string& image) {
    const auto options = with("fp32", sacvit::Weights::packed);
    for (const char* name : {"manifest.json", "labels.txt", "ee.fp32.onnx", "weights.fp32.bin", "deit.fp32.onnx"}) {
        const Copy copy(bundle);
        const fs::path path = copy.path / name;
        fs::remove(path);
        CHECK(::mkfifo(path.c_str(), 0600) == 0);
        REFUSES(bundle, std::string(name) + " is no regular file", sacvit::Model(copy.path.string(), options));
    }
    const Copy copy(bundle);
    const fs::path pipe = copy.folder / "b.jpg";
    CHECK(::mkfifo(pipe.c_str(), 0600) == 0);
    const sacvit::Model model(copy.path.string(), options);
    REFUSES(image, "b.jpg is no regular file", model.predict(pipe.string()));
    const auto results = model.predict_batch({image, pipe.string(), copy.folder.string(), "/dev/null"});
    EQUAL(results[0].index(), 0u);
    for (const std::size_t i : {1, 2, 3}) {
        EQUAL(results[i].index(), 1u);
    }
}

// A model may name the weights file that the manifest lists, and no other: the library would open it.
void test_other_files(const fs::path& bundle) {
    const auto options = with("fp32", sacvit::Weights::packed);
    for (const std::string other :
         {"weights.fp99.bin", "../weights.fp32.", "/etc/passwd\0\0\0\0\0", "*/_ORT_MEM_ADDR_"}) {
        const Copy copy(bundle);
        std::string model = read(copy.path / "sac.fp32.onnx");
        fs::copy_file(copy.path / "weights.fp32.bin", copy.path / "weights.fp99.bin");
        const std::size_t at = model.find("weights.fp32.bin");
        CHECK(at != model.npos);
        model.replace(at, 16, std::string(other).append(16, 'x').substr(0, 16));
        copy.put("sac.fp32.onnx", model);
        copy.edit(
            [&](json& manifest) { manifest["variants"]["fp32"]["files"]["sac"] = entry("sac.fp32.onnx", model); });
        sacvit::Model opened(copy.path.string(), options);
        REFUSES(bundle, "sac.fp32.onnx stores `", opened.reload());
    }
    // The same without any weights in the manifest.
    const Copy copy(bundle);
    copy.edit([&](json& manifest) { manifest["variants"]["fp32"]["files"].erase("weights"); });
    REFUSES(bundle, "ee.fp32.onnx stores `", sacvit::Model(copy.path.string(), options));
}

// Puts one folder in the place of another, as an export does: for a moment there is none.
void swap_in(const fs::path& source, const fs::path& target) {
    const fs::path partial = target.parent_path() / ("." + target.filename().string() + ".partial-1");
    const fs::path old = partial.string() + "-old";
    fs::copy(source, partial, fs::copy_options::recursive);
    fs::rename(target, old);
    fs::rename(partial, target);
    fs::remove_all(old);
}

// Opening beside a writer gives the old bundle or the new one.
void test_writers(const fs::path& bundle, const fs::path& other, const std::string& image) {
    const auto options = with("fp32", sacvit::Weights::mapped);
    const std::string old = answer(sacvit::Model(bundle.string(), options), image, 1.0);
    const std::string fresh = answer(sacvit::Model(other.string(), options), image, 1.0);
    const Copy copy(bundle);
    std::atomic<bool> end{false};
    std::atomic<int> swaps{0};
    std::thread writer([&] {
        for (; !end || swaps < 2; ++swaps) {
            swap_in(swaps % 2 ? bundle : other, copy.path);
        }
    });
    int olds = 0, news = 0, opened = 0;
    // As many as it takes to see both, and 20 at least.
    for (; opened < 20 || (opened < 500 && (olds == 0 || news == 0)); ++opened) {
        try {
            const std::string seen = answer(sacvit::Model(copy.path.string(), options), image, 1.0);
            olds += seen == old;
            news += seen == fresh;
        } catch (const sacvit::Error& error) {
            CHECK(false, error.what());
        }
    }
    end = true;
    writer.join();
    EQUAL(olds + news, opened);
    CHECK(olds > 0 && news > 0, olds, ' ', news);
    std::printf("%d opened beside %d swaps: %d old, %d new\n", opened, swaps.load(), olds, news);
}

void test_reload(const fs::path& bundle, const fs::path& other, const std::vector<std::string>& images) {
    const auto options = with("fp32", sacvit::Weights::packed);
    const auto old = answers(sacvit::Model(bundle.string(), options), images);
    const auto fresh = answers(sacvit::Model(other.string(), options), images);
    const Copy copy(bundle);
    fs::current_path(copy.folder);
    sacvit::Model model(copy.path.filename().string(), options);
    const sacvit::Model same = model;
    fs::current_path("/");
    const std::size_t classes = model.labels().size();
    std::vector<sacvit::Source> sources(images.begin(), images.end());
    std::size_t at = 0;
    sacvit::Stream begun = model.stream(
        [&]() -> std::optional<sacvit::Source> {
            return at < sources.size() ? std::optional<sacvit::Source>(sources[at++]) : std::nullopt;
        },
        {1, 1}, {1.0});
    swap_in(other, copy.path);
    CHECK(answers(model, images) == old);
    model.reload();
    CHECK(answers(model, images) == fresh && answers(same, images) == fresh);
    CHECK(model.labels().size() != classes && same.labels() == model.labels());
    for (const std::string& image : images) {  // a stream ends with the bundle that it began with
        const auto result = begun.next();
        EQUAL(std::get<sacvit::Prediction>(*result).probabilities.size(), classes, image);
    }
    // Whatever is wrong with the new one, the one in use stays.
    fs::resize_file(copy.path / "sac.fp32.onnx", 10);
    REFUSES(bundle, "sac.fp32.onnx has 10 bytes instead of", model.reload());
    CHECK(answers(model, images) == fresh);
    fs::remove_all(copy.path);
    REFUSES(bundle, "does not exist", model.reload());
    REFUSES(bundle, "can't read", sacvit::Model(std::string(300, 'x') + ".sacvit"));  // no name is as long
    CHECK(answers(model, images) == fresh);

    // Reloading while others ask.
    fs::copy(bundle, copy.path, fs::copy_options::recursive);
    std::atomic<bool> end{false};
    std::vector<std::thread> askers;
    for (int i = 0; i < 3; ++i) {
        askers.emplace_back([&] {
            while (!end) {
                const std::string seen = answer(model, images[0], 1.0);
                CHECK(seen == old[1] || seen == fresh[1]);
                model.labels();
                model.description();
            }
        });
    }
    for (int i = 0; i < 6; ++i) {
        model.reload();
        swap_in(i % 2 ? bundle : other, copy.path);
    }
    model.reload();
    end = true;
    for (std::thread& asker : askers) {
        asker.join();
    }
    CHECK(answers(model, images) == old);
}

}  // namespace

int main(int, char** argv) {
    ::alarm(1400);  // whatever waits for ever fails
    const fs::path bundle = fs::absolute(argv[1]), other = fs::absolute(argv[2]);
    std::vector<std::string> images;
    for (const auto& entry : fs::directory_iterator(fs::absolute(argv[3]))) {
        images.push_back(entry.path().string());
    }
    std::sort(images.begin(), images.end());
    images.resize(2);
    test_harms(bundle, other, images);
    test_pipes(bundle, images[0]);
    test_other_files(bundle);
    test_writers(bundle, other, images[0]);
    test_reload(bundle, other, images);
    return check::result();
}
