// The pixel kernel in plain C++: for processors without a kernel of their own.
#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

struct Bytes {
    std::uint8_t at[16];
};
struct Floats {
    float at[16];
};

constexpr bool kMaskedLoads = false;

inline Bytes load(const std::uint8_t* from) {
    Bytes bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return bytes;
}
inline Bytes load_masked(const std::uint8_t* from, std::uint16_t) { return load(from); }  // never called
inline void store(const Bytes& bytes, std::uint8_t* to) { std::memcpy(to, &bytes, sizeof bytes); }
inline Bytes shuffle(const Bytes& bytes, const Bytes& places) {
    Bytes result;
    for (int i = 0; i < 16; ++i) result.at[i] = places.at[i] < 16 ? bytes.at[places.at[i]] : 0;
    return result;
}
inline Bytes either(const Bytes& a, const Bytes& b) {
    Bytes result;
    for (int i = 0; i < 16; ++i) result.at[i] = a.at[i] | b.at[i];
    return result;
}

inline Floats load(const float* from) {
    Floats floats;
    std::memcpy(&floats, from, sizeof floats);
    return floats;
}

// value * scale + shift in one rounding, without a fused instruction: the product is exact in double (8 + 24
// bits), and rounding the sum to odd makes the second rounding harmless (Boldo and Melquiond, 2008).
inline float fused(std::uint8_t value, float scale, float shift) {
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
inline Floats fused(const Bytes& bytes, const Floats& scale, const Floats& shift) {
    Floats result;
    for (int i = 0; i < 16; ++i) result.at[i] = fused(bytes.at[i], scale.at[i], shift.at[i]);
    return result;
}

inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// The conversions round to nearest, ties to even. Written without branches, so that compilers vectorise them.

struct Float32 {
    using Value = float;
    static Value convert(float value) { return value; }
    template <bool>
    static void store(const Floats& values, Value* to) {
        std::memcpy(to, &values, sizeof values);
    }
};

template <class Type, class Value>
void store_converted(const Floats& values, Value* to) {
    for (int i = 0; i < 16; ++i) to[i] = Type::convert(values.at[i]);
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
    static void store(const Floats& values, Value* to) {
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
    static void store(const Floats& values, Value* to) {
        store_converted<Bfloat16>(values, to);
    }
};

struct Uint8 {  // saturates
    using Value = std::uint8_t;
    static Value convert(float value) {
        const float low = value > 0.0f ? value : 0.0f;
        const float clamped = low < 255.0f ? low : 255.0f;
        return static_cast<Value>(bits_of(clamped + 0x1.8p23f));  // at 1.5 * 2^23 steps are whole numbers
    }
    template <bool>
    static void store(const Floats& values, Value* to) {
        store_converted<Uint8>(values, to);
    }
};

constexpr std::size_t kSumBlock = 16;

// Adds up blocks of bytes and their squares; at most 2^16 bytes, so that 32 bits hold every sum.
inline void add_up(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    std::uint32_t sum = 0;
    std::uint32_t squares = 0;
    for (std::size_t i = 0; i < blocks * kSumBlock; ++i) {
        const std::uint32_t value = bytes[i];
        sum += value;
        squares += value * value;
    }
    total.sum += sum;
    total.sum_of_squares += squares;
}

void settle() {}

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_generic;
const PixelKernel kPixelKernel_generic = {"generic", decode, picture_map, settle};

}  // namespace selfie
