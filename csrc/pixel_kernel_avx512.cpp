// The pixel kernel for AVX-512 (F, BW, VL, DQ); CMakeLists.txt gives this file its compiler flags.
#include <immintrin.h>

#include "pixel_kernel.h"

namespace selfie {
namespace {

using Bytes = __m128i;
using Floats = __m512;

constexpr bool kMaskedLoads = true;

inline Bytes load(const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
// Bytes whose bit is 0 are 0, and their memory is not touched.
inline Bytes load_masked(const std::uint8_t* from, std::uint16_t mask) {
    return _mm_maskz_loadu_epi8(mask, from);
}
inline void store(Bytes bytes, std::uint8_t* to) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes); }
inline Bytes shuffle(Bytes bytes, Bytes places) { return _mm_shuffle_epi8(bytes, places); }
inline Bytes either(Bytes a, Bytes b) { return _mm_or_si128(a, b); }

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline Floats fused(Bytes bytes, Floats scale, Floats shift) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), scale, shift);
}

template <bool kStream>
inline void put(__m512i value, void* to) {
    if (kStream)
        _mm512_stream_si512(static_cast<__m512i*>(to), value);
    else
        _mm512_storeu_si512(to, value);
}
template <bool kStream>
inline void put(__m256i value, void* to) {
    if (kStream)
        _mm256_stream_si256(static_cast<__m256i*>(to), value);
    else
        _mm256_storeu_si256(static_cast<__m256i*>(to), value);
}
template <bool kStream>
inline void put(__m128i value, void* to) {
    if (kStream)
        _mm_stream_si128(static_cast<__m128i*>(to), value);
    else
        _mm_storeu_si128(static_cast<__m128i*>(to), value);
}

struct Float32 {
    using Value = float;
    template <bool kStream>
    static void store(Floats values, Value* to) {
        put<kStream>(_mm512_castps_si512(values), to);
    }
};

struct Float16 {
    using Value = std::uint16_t;
    template <bool kStream>
    static void store(Floats values, Value* to) {
        put<kStream>(_mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT), to);
    }
};

// Not by the instruction of AVX512_BF16: that one takes subnormal numbers for 0.
struct Bfloat16 {
    using Value = std::uint16_t;
    template <bool kStream>
    static void store(Floats values, Value* to) {
        alignas(32) static constexpr std::uint16_t kUpperHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15,
                                                                       17, 19, 21, 23, 25, 27, 29, 31};
        const __m512i bits = _mm512_castps_si512(values);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
        const __m512i halves = _mm512_permutexvar_epi16(_mm512_loadu_si512(kUpperHalves), rounded);
        put<kStream>(_mm512_castsi512_si256(halves), to);
    }
};

struct Uint8 {  // saturates
    using Value = std::uint8_t;
    template <bool kStream>
    static void store(Floats values, Value* to) {
        const Floats low = _mm512_max_ps(values, _mm512_setzero_ps());
        const Floats clamped = _mm512_min_ps(low, _mm512_set1_ps(255));
        put<kStream>(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped)), to);
    }
};

constexpr std::size_t kSumBlock = 64;

// Adds up blocks of bytes and their squares; at most 2^16 bytes, so that 32 bits hold every part.
inline void add_up(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums = zero;
    __m512i squares = zero;
    for (std::size_t i = 0; i < blocks; ++i) {
        const __m512i block = _mm512_loadu_si512(bytes + kSumBlock * i);
        const __m512i low = _mm512_unpacklo_epi8(block, zero);
        const __m512i high = _mm512_unpackhi_epi8(block, zero);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(block, zero));
        squares = _mm512_add_epi32(squares, _mm512_madd_epi16(low, low));
        squares = _mm512_add_epi32(squares, _mm512_madd_epi16(high, high));
    }
    total.sum += static_cast<std::uint64_t>(_mm512_reduce_add_epi64(sums));
    total.sum_of_squares += static_cast<std::uint32_t>(_mm512_reduce_add_epi32(squares));
}

void settle() { _mm_sfence(); }

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_avx512;
const PixelKernel kPixelKernel_avx512 = {"avx512", decode, picture_map, settle};

}  // namespace selfie
