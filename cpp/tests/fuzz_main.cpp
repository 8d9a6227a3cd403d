// Drives fuzz.cpp where libFuzzer (clang) is not there: mutates seed files for some seconds, without coverage.
// argv: SECONDS, or COUNT with an x behind it, SEED_FILE..., of which manifest.json, *.onnx and images are told apart
// by their names.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

Input seed(const std::string& path) {
    const auto ends = [&](const std::string& end) {
        return path.size() >= end.size() && path.compare(path.size() - end.size(), end.size(), end) == 0;
    };
    const std::uint8_t kind = ends("manifest.json") ? 0 : ends(".onnx") ? 3 : ends(".exif") ? 2 : ends(".txt") ? 4 : 1;
    std::ifstream file(path, std::ios::binary);
    Input out{kind};
    out.insert(out.end(), std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    return out;
}

Input mutated(Input input, const std::vector<Input>& seeds, std::mt19937& random) {
    const auto below = [&](std::size_t limit) { return random() % (limit == 0 ? 1 : limit); };
    for (std::size_t i = 0, changes = 1 + below(6); i < changes && input.size() > 1; ++i) {
        const std::size_t at = 1 + below(input.size() - 1);
        const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = here + static_cast<std::ptrdiff_t>(below(std::min<std::size_t>(input.size() - at, 64)));
        switch (below(7)) {
            case 0: *here = static_cast<std::uint8_t>(random()); break;
            case 1: *here = static_cast<std::uint8_t>(*here ^ (1u << below(8))); break;
            case 2: input.erase(here, end); break;
            case 3: input.insert(here, 1 + below(32), static_cast<std::uint8_t>(random())); break;
            case 4: input.resize(at); break;
            case 5: {  // a number that is likely to hurt
                constexpr std::uint8_t numbers[] = {0x00, 0x7F, 0x80, 0xFF};
                for (auto byte = here; byte != input.end() && byte < here + 4; ++byte) {
                    *byte = numbers[below(4)];
                }
                break;
            }
            default: {  // a piece of another seed
                const Input& other = seeds[below(seeds.size())];
                const std::size_t from = below(other.size());
                const std::size_t count = below(std::min<std::size_t>(other.size() - from, 200));
                input.insert(here, other.begin() + static_cast<std::ptrdiff_t>(from),
                             other.begin() + static_cast<std::ptrdiff_t>(from + count));
            }
        }
    }
    return input;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<Input> seeds;
    for (int i = 2; i < argc; ++i) {
        seeds.push_back(seed(argv[i]));
    }
    std::mt19937 random(1);
    const std::string amount = argv[1];
    const bool counted = amount.back() == 'x';
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
    std::size_t count = 0;
    while (counted ? count < std::stoul(amount) : std::chrono::steady_clock::now() < end) {
        const Input input = mutated(seeds[random() % seeds.size()], seeds, random);
        // What a crash leaves behind to look at.
        if (const char* path = std::getenv("SACVIT_LAST_INPUT")) {
            std::ofstream(path, std::ios::binary)
                .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
        }
        LLVMFuzzerTestOneInput(input.data(), input.size());
        ++count;
    }
    std::printf("%zu inputs from %zu seeds\n", count, seeds.size());
    return count > 0 ? 0 : 1;
}
