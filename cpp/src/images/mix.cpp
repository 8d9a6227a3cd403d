// Weighted sums of bytes in fixed point.
#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "images/resize.hpp"

namespace sacvit::detail {
namespace {

constexpr std::int32_t kHalf = 1 << (kFraction - 1);

std::uint8_t rounded(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::min(std::max(sum >> kFraction, 0), 255));
}

void mix_rest(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int begin, int end) {
    for (int lane = begin; lane < end; ++lane) {
        std::int32_t sum = kHalf;
        const std::uint8_t* source = from + lane;
        for (int i = 0; i < how.count; ++i, source += stride) {
            sum += how.weights[i] * *source;
        }
        to[lane] = rounded(sum);
    }
}

#if defined(__x86_64__)
// Intrinsics, because compilers keep the sums of such a loop in memory; here they stay in six registers.
__attribute__((target("avx2"))) void mix_avx2(const std::uint8_t* from, std::size_t stride, const Weighted& how,
                                              std::uint8_t* to, int lanes) {
    constexpr int kParts = kLanes / 8;
    int lane = 0;
    for (; lane + kLanes <= lanes; lane += kLanes) {
        __m256i sums[kParts];
#pragma GCC unroll 6
        for (int part = 0; part < kParts; ++part) {
            sums[part] = _mm256_set1_epi32(kHalf);
        }
        const std::uint8_t* source = from + lane;
        for (int i = 0; i < how.count; ++i, source += stride) {
            const __m256i weight = _mm256_set1_epi32(how.weights[i]);
#pragma GCC unroll 6
            for (int part = 0; part < kParts; ++part) {
                const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + 8 * part));
                sums[part] = _mm256_add_epi32(sums[part], _mm256_mullo_epi32(weight, _mm256_cvtepu8_epi32(bytes)));
            }
        }
#pragma GCC unroll 3
        for (int part = 0; part < kParts; part += 2) {
            // Packing works within the 128-bit halves of a register, so its quarters are put in order after each.
            __m256i values = _mm256_packs_epi32(_mm256_srai_epi32(sums[part], kFraction),
                                                _mm256_srai_epi32(sums[part + 1], kFraction));
            values = _mm256_permute4x64_epi64(values, 0xd8);
            values = _mm256_permute4x64_epi64(_mm256_packus_epi16(values, values), 0x08);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + lane + 8 * part), _mm256_castsi256_si128(values));
        }
    }
    mix_rest(from, stride, how, to, lane, lanes);
}
#endif

}  // namespace

void mix_plain(const std::uint8_t* from, std::size_t stride, const Weighted& how, std::uint8_t* to, int lanes) {
    int lane = 0;
    for (; lane + kLanes <= lanes; lane += kLanes) {
        std::int32_t sums[kLanes];
        std::fill(sums, sums + kLanes, kHalf);
        const std::uint8_t* source = from + lane;
        for (int i = 0; i < how.count; ++i, source += stride) {
            for (int part = 0; part < kLanes; ++part) {
                sums[part] += how.weights[i] * source[part];
            }
        }
        for (int part = 0; part < kLanes; ++part) {
            to[lane + part] = rounded(sums[part]);
        }
    }
    mix_rest(from, stride, how, to, lane, lanes);
}

Mix choose_mix() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        return mix_avx2;
    }
#endif
    return mix_plain;
}

}  // namespace sacvit::detail
