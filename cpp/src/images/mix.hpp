// Weighted sums of bytes in fixed point, the inner loop of resizing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sacvit::detail {

constexpr int kFraction = 22;  // bits of a weight behind the point
constexpr int kLanes = 48;     // lanes that are best given at once, or a multiple of them

// The weights of the `count` input coordinates that one output coordinate is mixed from.
struct Weighted {
    const std::int32_t* weights;
    int count;
};

// Writes one byte for each of `lanes` lanes: the rounded weighted sum of the inputs, clamped to 0..255. `from` has the
// first input's lanes, and each next input's are `stride` bytes further.
using Mix = void (*)(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

// The fastest implementation for this processor; all give the same bytes.
Mix choose_mix();
// The implementation without special instructions.
void mix_plain(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes);

}  // namespace sacvit::detail
