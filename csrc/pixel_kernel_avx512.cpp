// The vectors of the pixel kernel for AVX-512 (F, BW, VL, DQ): one register of 16 bytes, one of 16 floats.
// CMakeLists.txt sets the compiler flags.
#include <immintrin.h>

#include "pixel_kernel.h"

namespace selfie {
namespace {

using ByteVector = __m128i;
using FloatVector = __m512;

constexpr bool kHasMaskedLoad = true;
constexpr bool kHasLineStores = true;

inline ByteVector load(const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
// ByteVector whose bit is 0 are 0, and their memory is not touched.
inline ByteVector masked_load(const std::uint8_t* from, std::uint16_t mask) {
    return _mm_maskz_loadu_epi8(mask, from);
}
inline void store(ByteVector bytes, std::uint8_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
inline ByteVector table_lookup(ByteVector bytes, ByteVector lanes) { return _mm_shuffle_epi8(bytes, lanes); }
inline ByteVector bit_or(ByteVector a, ByteVector b) { return _mm_or_si128(a, b); }

inline FloatVector load(const float* from) { return _mm512_loadu_ps(from); }
inline FloatVector broadcast(float value) { return _mm512_set1_ps(value); }
inline FloatVector max(FloatVector a, FloatVector b) { return _mm512_max_ps(a, b); }
inline FloatVector min(FloatVector a, FloatVector b) { return _mm512_min_ps(a, b); }
inline FloatVector mul_add(ByteVector bytes, FloatVector scale, FloatVector shift) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), scale, shift);
}

template <bool kStream>
inline void store_vector(__m512i value, void* to) {
    if (kStream)
        _mm512_stream_si512(static_cast<__m512i*>(to), value);
    else
        _mm512_storeu_si512(to, value);
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
    static void store(FloatVector values, Value* to) {
        store_vector<kStream>(_mm512_castps_si512(values), to);
    }
};

inline __m512i joined(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Values of 16 bits; Type::half() converts a vector.
template <class Type>
struct Halves {
    using Value = std::uint16_t;
    template <bool kStream>
    static void store(FloatVector values, Value* to) {
        store_vector<kStream>(Type::half(values), to);
    }
    template <bool kStream>
    static void store_line(const FloatVector* values, Value* to) {
        store_vector<kStream>(joined(Type::half(values[0]), Type::half(values[1])), to);
    }
};

struct Float16 : Halves<Float16> {
    static __m256i half(FloatVector values) { return _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT); }
};

// Without the instruction of AVX512_BF16, which takes subnormal numbers for 0.
struct Bfloat16 : Halves<Bfloat16> {
    static __m256i half(FloatVector values) {
        alignas(32) static constexpr std::uint16_t kUpperHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15,
                                                                       17, 19, 21, 23, 25, 27, 29, 31};
        const __m512i bits = _mm512_castps_si512(values);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
        const __m512i halves = _mm512_permutexvar_epi16(_mm512_loadu_si512(kUpperHalves), rounded);
        return _mm512_castsi512_si256(halves);
    }
};

// Rounds values of 0..255 to the nearest byte, ties to even.
template <bool kStream>
inline void store_bytes(FloatVector values, std::uint8_t* to) {
    store_vector<kStream>(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values)), to);
}

// The same for a cache line, four vectors.
template <bool kStream>
inline void store_line_bytes(const FloatVector* values, std::uint8_t* to) {
    const auto rounded = [&](int k) { return _mm512_cvtps_epi32(values[k]); };
    // Packing works within quarters of a register: they come out as columns of a 4 x 4 square.
    const __m512i packed = _mm512_packus_epi16(_mm512_packs_epi32(rounded(0), rounded(1)),
                                               _mm512_packs_epi32(rounded(2), rounded(3)));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    store_vector<kStream>(_mm512_permutexvar_epi32(order, packed), to);
}

// A cache line of bytes, four vectors, past the caches.
inline void stream_line(const ByteVector* bytes, std::uint8_t* to) {
    const auto pair = [&](int k) {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(bytes[k]), bytes[k + 1], 1);
    };
    store_vector<true>(joined(pair(0), pair(2)), to);
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
    return _mm256_cvtepi16_epi8(rounded);
}

// bytes * weights + sum, of integers below 2^24: exact.
inline FloatVector add_product(ByteVector bytes, FloatVector weights, FloatVector sum) {
    return mul_add(bytes, weights, sum);
}
// The integer parts of values / 128, for values of 0..2^22.
inline ShortVector from_128ths(FloatVector values) {
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_cvttps_epi32(values), 7));
}

constexpr std::size_t kSumLanes = 64;

// Adds blocks of bytes, and their squares, to the totals: at most 2^16 bytes, so that 32 bits hold every
// part.
inline void add_sums(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums = zero;
    __m512i squares = zero;
    for (std::size_t i = 0; i < blocks; ++i) {
        const __m512i block = _mm512_loadu_si512(bytes + kSumLanes * i);
        const __m512i low = _mm512_unpacklo_epi8(block, zero);
        const __m512i high = _mm512_unpackhi_epi8(block, zero);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(block, zero));
        squares = _mm512_add_epi32(squares, _mm512_madd_epi16(low, low));
        squares = _mm512_add_epi32(squares, _mm512_madd_epi16(high, high));
    }
    total.sum += static_cast<std::uint64_t>(_mm512_reduce_add_epi64(sums));
    total.sum_of_squares += static_cast<std::uint32_t>(_mm512_reduce_add_epi32(squares));
}

void flush_stream() { _mm_sfence(); }

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_avx512;
const PixelKernel kPixelKernel_avx512 = {"avx512", decode, scale_and_shift, flush_stream};

}  // namespace selfie
