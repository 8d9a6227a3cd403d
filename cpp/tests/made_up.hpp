// Values that both languages compute alike, without much order.
#pragma once

#include <cstdint>
#include <vector>

// [height, width, channels]. As made_up in tests/golden/arithmetic.py.
inline std::vector<std::uint8_t> made_up(std::uint64_t width, std::uint64_t height, std::uint64_t channels = 3) {
    std::vector<std::uint8_t> out;
    for (std::uint64_t y = 0; y < height; ++y) {
        for (std::uint64_t x = 0; x < width; ++x) {
            for (std::uint64_t c = 0; c < channels; ++c) {
                const std::uint64_t mixed = (x * 2654435761 + y * 40503 + c * 69069 + x * y * 97) % 4294967296;
                out.push_back(static_cast<std::uint8_t>(mixed ^ (mixed >> 15)));
            }
        }
    }
    return out;
}
