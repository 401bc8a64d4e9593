// The vectors of the pixel kernel for AVX2 with FMA and F16C: one register of 16 bytes, two of 8 floats.
// CMakeLists.txt sets the compiler flags.
#include <immintrin.h>

#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

using ByteVector = __m128i;
struct FloatVector {
    __m256 low;
    __m256 high;
};

#include "pixel_kernel_without_lines.h"

inline ByteVector load(const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
inline void store(ByteVector bytes, std::uint8_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
inline ByteVector table_lookup(ByteVector bytes, ByteVector lanes) { return _mm_shuffle_epi8(bytes, lanes); }
inline ByteVector bit_or(ByteVector a, ByteVector b) { return _mm_or_si128(a, b); }

inline FloatVector load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline FloatVector broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline FloatVector max(const FloatVector& a, const FloatVector& b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline FloatVector min(const FloatVector& a, const FloatVector& b) {
    return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline FloatVector mul_add(ByteVector bytes, const FloatVector& scale, const FloatVector& shift) {
    const __m256i low = _mm256_cvtepu8_epi32(bytes);
    const __m256i high = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes));
    return {_mm256_fmadd_ps(_mm256_cvtepi32_ps(low), scale.low, shift.low),
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), scale.high, shift.high)};
}

template <bool kStream>
inline void store_vector(__m256i value, void* to) {
    if (kStream)
        _mm256_stream_si256(static_cast<__m256i*>(to), value);
    else
        _mm256_storeu_si256(static_cast<__m256i*>(to), value);
}
template <bool kStream>
inline void store_vector(__m128i value, void* to) {
    if (kStream)
        _mm_stream_si128(static_cast<__m128i*>(to), value);
    else
        _mm_storeu_si128(static_cast<__m128i*>(to), value);
}

struct Float32 {
    using Value = float;
    template <bool kStream>
    static void store(const FloatVector& values, Value* to) {
        store_vector<kStream>(_mm256_castps_si256(values.low), to);
        store_vector<kStream>(_mm256_castps_si256(values.high), to + 8);
    }
};

struct Float16 {
    using Value = std::uint16_t;
    template <bool kStream>
    static void store(const FloatVector& values, Value* to) {
        store_vector<kStream>(_mm256_cvtps_ph(values.low, _MM_FROUND_TO_NEAREST_INT), to);
        store_vector<kStream>(_mm256_cvtps_ph(values.high, _MM_FROUND_TO_NEAREST_INT), to + 8);
    }
};

// The 16 lanes as 16-bit integers; the values must fit.
inline __m256i packed(__m256i low, __m256i high) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0b11011000);
}

struct Bfloat16 {
    using Value = std::uint16_t;
    template <bool kStream>
    static void store(const FloatVector& values, Value* to) {
        const auto rounded = [](__m256 value) {
            const __m256i bits = _mm256_castps_si256(value);
            const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
            const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
            return _mm256_srli_epi32(sum, 16);
        };
        store_vector<kStream>(packed(rounded(values.low), rounded(values.high)), to);
    }
};

// Rounds values of 0..255 to the nearest byte, ties to even.
template <bool kStream>
inline void store_bytes(const FloatVector& values, std::uint8_t* to) {
    const __m256i words = packed(_mm256_cvtps_epi32(values.low), _mm256_cvtps_epi32(values.high));
    store_vector<kStream>(_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)),
                          to);
}

// Lanes of 16 bits: bytes times 128, for resizing.
using ShortVector = __m256i;

inline ShortVector load(const std::int16_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store(ShortVector values, std::int16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), values);
}
inline ShortVector broadcast(std::int16_t value) { return _mm256_set1_epi16(value); }
inline ShortVector widen(ByteVector bytes) { return _mm256_slli_epi16(_mm256_cvtepu8_epi16(bytes), 7); }
inline ShortVector lerp(ShortVector a, ShortVector b, ShortVector weight) {
    return _mm256_add_epi16(a, _mm256_mulhrs_epi16(_mm256_sub_epi16(b, a), weight));
}
inline ByteVector narrow(ShortVector values) {
    const __m256i rounded = _mm256_srli_epi16(_mm256_add_epi16(values, _mm256_set1_epi16(64)), 7);
    return _mm_packus_epi16(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

// bytes * weights + sum, of integers below 2^24: exact.
inline FloatVector add_product(ByteVector bytes, const FloatVector& weights, const FloatVector& sum) {
    return mul_add(bytes, weights, sum);
}
// The integer parts of values / 128, for values of 0..2^22.
inline ShortVector from_128ths(const FloatVector& values) {
    return packed(_mm256_srli_epi32(_mm256_cvttps_epi32(values.low), 7),
                  _mm256_srli_epi32(_mm256_cvttps_epi32(values.high), 7));
}

constexpr std::size_t kSumLanes = 32;

// Adds blocks of bytes, and their squares, to the totals: at most 2^16 bytes, so that 32 bits hold every
// part.
inline void add_sums(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums = zero;
    __m256i squares = zero;
    for (std::size_t i = 0; i < blocks; ++i) {
        const __m256i block = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + kSumLanes * i));
        const __m256i low = _mm256_unpacklo_epi8(block, zero);
        const __m256i high = _mm256_unpackhi_epi8(block, zero);
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(block, zero));
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(low, low));
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(high, high));
    }
    std::uint64_t sum_parts[4];
    std::uint32_t square_parts[8];
    std::memcpy(sum_parts, &sums, sizeof sums);
    std::memcpy(square_parts, &squares, sizeof squares);
    for (const std::uint64_t part : sum_parts) total.sum += part;
    for (const std::uint32_t part : square_parts) total.sum_of_squares += part;
}

void flush_stream() { _mm_sfence(); }

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_avx2;
const PixelKernel kPixelKernel_avx2 = {"avx2", decode, scale_and_shift, flush_stream};

}  // namespace selfie
