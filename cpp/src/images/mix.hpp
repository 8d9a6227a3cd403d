// Weighted sums of bytes in fixed point, the inner loop of resizing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sacvit::detail {

constexpr int kFraction = 22;  // bits of a weight behind the point
constexpr int kLanes = 48;     // how many lanes are best given at once, or a multiple of it

// One output coordinate: how many input coordinates it is mixed from, and their weights.
struct Weighted {
    const std::int32_t* weights;
    int count;
};

// Writes one byte for each of `lanes` lanes: the rounded sum of its inputs, cut to 0..255. `from` is the first input's
// lanes, the next input's are `stride` bytes further.
using Mix = void (*)(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

// The fastest way on this processor; all give the same bytes.
Mix choose_mix();
// The way that needs no special instructions.
void mix_plain(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

}  // namespace sacvit::detail
