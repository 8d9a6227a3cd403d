// Milliseconds to prepare a camera's frame, 1920x1080 in NV12 unless WIDTH HEIGHT say otherwise: converted a few rows
// at a time on the way into resizing, as the runtime does it, and as a whole in front of it. The two take turns. argv:
// [WIDTH HEIGHT [ROUNDS]].
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "images/preprocess.hpp"
#include "images/yuv.hpp"
#include "made_up.hpp"

using namespace sacvit::detail;

namespace {

double milliseconds(const std::function<Pixels()>& prepare) {
    const auto start = std::chrono::steady_clock::now();
    prepare();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void print(const char* name, std::vector<double> times) {
    std::sort(times.begin(), times.end());
    const std::size_t last = times.size() - 1;
    std::printf("%-24s %6.2f ms, quartiles %.2f to %.2f\n", name, times[last / 2], times[last / 4],
                times[last * 3 / 4]);
}

}  // namespace

int main(int argc, char** argv) {
    const auto number = [&](int at, int fallback) { return argc > at ? std::atoi(argv[at]) : fallback; };
    const int width = number(1, 1920), height = number(2, 1080), rounds = std::max(number(3, 101), 1);
    const auto bytes = made_up(static_cast<std::size_t>(width), static_cast<std::size_t>(height) * 3 / 2, 1);
    const sacvit::ImageView frame{bytes.data(), width, height, width, sacvit::PixelFormat::nv12};
    const auto by_rows = [&] { return fit(frame, 224, {}, "the frame"); };
    const auto whole = [&] { return fit(rgb_of_yuv(frame).view(), 224, {}, "the frame"); };
    if (by_rows() != whole()) {
        std::puts("the two differ");
        return 1;
    }
    std::vector<double> rows_times, whole_times;
    for (int round = 0; round < rounds; ++round) {
        rows_times.push_back(milliseconds(by_rows));
        whole_times.push_back(milliseconds(whole));
    }
    std::printf("%dx%d NV12 to 224x224, one thread, %d rounds\n", width, height, rounds);
    print("a few rows at a time", rows_times);
    print("the whole frame first", whole_times);
}
