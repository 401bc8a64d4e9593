// The vectors of the pixel kernel in plain C++: arrays of 16 lanes, for processors without a file of their
// own.
#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

struct ByteVector {
    std::uint8_t lane[kLanes];
};
struct FloatVector {
    float lane[kLanes];
};

#include "pixel_kernel_without_lines.h"

inline ByteVector load(const std::uint8_t* from) {
    ByteVector bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return bytes;
}
inline void store(const ByteVector& bytes, std::uint8_t* to) { std::memcpy(to, &bytes, sizeof bytes); }
inline ByteVector table_lookup(const ByteVector& bytes, const ByteVector& lanes) {
    ByteVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = lanes.lane[i] < kLanes ? bytes.lane[lanes.lane[i]] : 0;
    return result;
}
inline ByteVector bit_or(const ByteVector& a, const ByteVector& b) {
    ByteVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = a.lane[i] | b.lane[i];
    return result;
}

inline FloatVector load(const float* from) {
    FloatVector floats;
    std::memcpy(&floats, from, sizeof floats);
    return floats;
}

inline FloatVector broadcast(float value) {
    FloatVector result;
    for (float& lane : result.lane) lane = value;
    return result;
}
inline FloatVector max(const FloatVector& a, const FloatVector& b) {
    FloatVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return result;
}
inline FloatVector min(const FloatVector& a, const FloatVector& b) {
    FloatVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return result;
}

// value * scale + shift in one rounding, without a fused instruction: the product is exact in double (8 + 24
// bits), and rounding the sum to odd makes the second rounding harmless (Boldo and Melquiond, 2008).
inline float mul_add(std::uint8_t value, float scale, float shift) {
    const double product = static_cast<double>(value) * scale;
    const double addend = shift;
    const double sum = product + addend;
    const double addend_part = sum - product;
    const double error = (product - (sum - addend_part)) + (addend - addend_part);
    std::int64_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    if (error != 0 && (bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : -1;
    double odd;
    std::memcpy(&odd, &bits, sizeof odd);
    return static_cast<float>(odd);
}
inline FloatVector mul_add(const ByteVector& bytes, const FloatVector& scale, const FloatVector& shift) {
    FloatVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = mul_add(bytes.lane[i], scale.lane[i], shift.lane[i]);
    return result;
}

inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// The conversions round to nearest, ties to even. They have no branches, so that compilers vectorise them.

struct Float32 {
    using Value = float;
    static Value convert(float value) { return value; }
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        std::memcpy(to, &values, sizeof values);
    }
};

template <class Type, class Value>
void store_converted(const FloatVector& values, Value* to) {
    for (int i = 0; i < kLanes; ++i) to[i] = Type::convert(values.lane[i]);
}

struct Float16 {
    using Value = std::uint16_t;
    static Value convert(float value) {
        const std::uint32_t bits = bits_of(value);
        const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
        const std::uint32_t normal = (magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
        float absolute;
        std::memcpy(&absolute, &magnitude, sizeof absolute);
        const std::uint32_t subnormal = bits_of(absolute + 0.5f) - 0x3F000000u;  // 0.5f has steps of 2^-24
        const std::uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
        const std::uint32_t rounded = magnitude >= 0x47800000u ? 0x7C00u : finite;
        return static_cast<Value>(rounded | (bits >> 16 & 0x8000u));
    }
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        store_converted<Float16>(values, to);
    }
};

struct Bfloat16 {
    using Value = std::uint16_t;
    static Value convert(float value) {
        const std::uint32_t bits = bits_of(value);
        return static_cast<Value>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        store_converted<Bfloat16>(values, to);
    }
};

// Rounds values of 0..255 to the nearest byte, ties to even: at 1.5 * 2^23 floats are integers.
template <bool>
void store_bytes(const FloatVector& values, std::uint8_t* to) {
    for (int i = 0; i < kLanes; ++i) to[i] = static_cast<std::uint8_t>(bits_of(values.lane[i] + 0x1.8p23f));
}

// Lanes of 16 bits: bytes times 128, for resizing.
struct ShortVector {
    std::int16_t lane[kLanes];
};

inline ShortVector load(const std::int16_t* from) {
    ShortVector values;
    std::memcpy(&values, from, sizeof values);
    return values;
}
inline void store(const ShortVector& values, std::int16_t* to) { std::memcpy(to, &values, sizeof values); }
inline ShortVector broadcast(std::int16_t value) {
    ShortVector result;
    for (std::int16_t& lane : result.lane) lane = value;
    return result;
}
inline ShortVector widen(const ByteVector& bytes) {
    ShortVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = static_cast<std::int16_t>(bytes.lane[i] * 128);
    return result;
}
inline ShortVector lerp(const ShortVector& a, const ShortVector& b, const ShortVector& weight) {
    ShortVector result;
    for (int i = 0; i < kLanes; ++i) {
        const std::int32_t part = (b.lane[i] - a.lane[i]) * weight.lane[i];
        result.lane[i] = static_cast<std::int16_t>(a.lane[i] + ((part + 0x4000) >> 15));
    }
    return result;
}
inline ByteVector narrow(const ShortVector& values) {
    ByteVector result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = static_cast<std::uint8_t>((values.lane[i] + 64) >> 7);
    return result;
}

// bytes * weights + sum, of integers below 2^24: exact.
inline FloatVector add_product(const ByteVector& bytes, const FloatVector& weights, const FloatVector& sum) {
    FloatVector result;
    for (int i = 0; i < kLanes; ++i)
        result.lane[i] = static_cast<float>(bytes.lane[i]) * weights.lane[i] + sum.lane[i];
    return result;
}
// The integer parts of values / 128, for values of 0..2^22.
inline ShortVector from_128ths(const FloatVector& values) {
    ShortVector result;
    for (int i = 0; i < kLanes; ++i)
        result.lane[i] = static_cast<std::int16_t>(static_cast<std::int32_t>(values.lane[i]) >> 7);
    return result;
}

constexpr std::size_t kSumLanes = 16;

// Adds blocks of bytes, and their squares, to the totals: at most 2^16 bytes, so that 32 bits hold every sum.
inline void add_sums(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    std::uint32_t sum = 0;
    std::uint32_t squares = 0;
    for (std::size_t i = 0; i < blocks * kSumLanes; ++i) {
        const std::uint32_t value = bytes[i];
        sum += value;
        squares += value * value;
    }
    total.sum += sum;
    total.sum_of_squares += squares;
}

void flush_stream() {}

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_generic;
const PixelKernel kPixelKernel_generic = {"generic", decode, scale_and_shift, flush_stream};

}  // namespace selfie
