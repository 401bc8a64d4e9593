// The vectors of the pixel kernel for NEON, which every 64-bit ARM processor has: one register of 16 bytes,
// four of 4 floats.
#include <arm_neon.h>

#include "pixel_kernel.h"

namespace selfie {
namespace {

using ByteVector = uint8x16_t;
using FloatVector = float32x4x4_t;

#include "pixel_kernel_without_lines.h"

inline ByteVector load(const std::uint8_t* from) { return vld1q_u8(from); }
inline void store(ByteVector bytes, std::uint8_t* to) { vst1q_u8(to, bytes); }
inline ByteVector table_lookup(ByteVector bytes, ByteVector lanes) { return vqtbl1q_u8(bytes, lanes); }
inline ByteVector bit_or(ByteVector a, ByteVector b) { return vorrq_u8(a, b); }

inline FloatVector load(const float* from) {
    return {{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}
inline FloatVector broadcast(float value) {
    const float32x4_t part = vdupq_n_f32(value);
    return {{part, part, part, part}};
}
inline FloatVector max(const FloatVector& a, const FloatVector& b) {
    return {{vmaxq_f32(a.val[0], b.val[0]), vmaxq_f32(a.val[1], b.val[1]), vmaxq_f32(a.val[2], b.val[2]),
             vmaxq_f32(a.val[3], b.val[3])}};
}
inline FloatVector min(const FloatVector& a, const FloatVector& b) {
    return {{vminq_f32(a.val[0], b.val[0]), vminq_f32(a.val[1], b.val[1]), vminq_f32(a.val[2], b.val[2]),
             vminq_f32(a.val[3], b.val[3])}};
}
inline FloatVector mul_add(ByteVector bytes, const FloatVector& scale, const FloatVector& shift) {
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
    const uint16x8_t high = vmovl_u8(vget_high_u8(bytes));
    const auto mapped = [&](uint16x4_t part, int i) {
        return vfmaq_f32(shift.val[i], vcvtq_f32_u32(vmovl_u16(part)), scale.val[i]);
    };
    return {{mapped(vget_low_u16(low), 0), mapped(vget_high_u16(low), 1), mapped(vget_low_u16(high), 2),
             mapped(vget_high_u16(high), 3)}};
}

// NEON has no streaming stores: kStream changes nothing.

struct Float32 {
    using Value = float;
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, values.val[i]);
    }
};

struct Float16 {
    using Value = std::uint16_t;
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        for (int i = 0; i < 4; ++i) vst1_u16(to + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(values.val[i])));
    }
};

struct Bfloat16 {
    using Value = std::uint16_t;
    template <bool>
    static void store(const FloatVector& values, Value* to) {
        for (int i = 0; i < 4; ++i) {
            const uint32x4_t bits = vreinterpretq_u32_f32(values.val[i]);
            const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
            const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFF)), odd);
            vst1_u16(to + 4 * i, vshrn_n_u32(rounded, 16));
        }
    }
};

// Rounds values of 0..255 to the nearest byte, ties to even.
template <bool>
inline void store_bytes(const FloatVector& values, std::uint8_t* to) {
    uint16x4_t words[4];
    for (int i = 0; i < 4; ++i) words[i] = vmovn_u32(vcvtnq_u32_f32(values.val[i]));
    vst1q_u8(to, vcombine_u8(vmovn_u16(vcombine_u16(words[0], words[1])),
                             vmovn_u16(vcombine_u16(words[2], words[3]))));
}

// Lanes of 16 bits: bytes times 128, for resizing.
using ShortVector = int16x8x2_t;

inline ShortVector load(const std::int16_t* from) { return {{vld1q_s16(from), vld1q_s16(from + 8)}}; }
inline void store(const ShortVector& values, std::int16_t* to) {
    vst1q_s16(to, values.val[0]);
    vst1q_s16(to + 8, values.val[1]);
}
inline ShortVector broadcast(std::int16_t value) { return {{vdupq_n_s16(value), vdupq_n_s16(value)}}; }
inline ShortVector widen(ByteVector bytes) {
    return {{vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(bytes), 7)),
             vreinterpretq_s16_u16(vshll_n_u8(vget_high_u8(bytes), 7))}};
}
inline ShortVector lerp(const ShortVector& a, const ShortVector& b, const ShortVector& weight) {
    const auto half = [&](int i) {
        return vaddq_s16(a.val[i], vqrdmulhq_s16(vsubq_s16(b.val[i], a.val[i]), weight.val[i]));
    };
    return {{half(0), half(1)}};
}
inline ByteVector narrow(const ShortVector& values) {
    const auto half = [&](int i) {
        return vmovn_u16(vshrq_n_u16(vreinterpretq_u16_s16(vaddq_s16(values.val[i], vdupq_n_s16(64))), 7));
    };
    return vcombine_u8(half(0), half(1));
}

// bytes * weights + sum, of integers below 2^24: exact.
inline FloatVector add_product(ByteVector bytes, const FloatVector& weights, const FloatVector& sum) {
    return mul_add(bytes, weights, sum);
}
// The integer parts of values / 128, for values of 0..2^22.
inline ShortVector from_128ths(const FloatVector& values) {
    const auto half = [&](int i) {
        return vreinterpretq_s16_u16(vcombine_u16(vshrn_n_u32(vcvtq_u32_f32(values.val[i]), 7),
                                                  vshrn_n_u32(vcvtq_u32_f32(values.val[i + 1]), 7)));
    };
    return {{half(0), half(2)}};
}

constexpr std::size_t kSumLanes = 16;

// Adds blocks of bytes, and their squares, to the totals: at most 2^16 bytes, so that 32 bits hold every
// part.
inline void add_sums(const std::uint8_t* bytes, std::size_t blocks, ChannelSums& total) {
    uint32x4_t sums = vdupq_n_u32(0);
    uint32x4_t squares = vdupq_n_u32(0);
    for (std::size_t i = 0; i < blocks; ++i) {
        const ByteVector block = load(bytes + kSumLanes * i);
        sums = vpadalq_u16(sums, vpaddlq_u8(block));
        squares = vpadalq_u16(squares, vmull_u8(vget_low_u8(block), vget_low_u8(block)));
        squares = vpadalq_u16(squares, vmull_u8(vget_high_u8(block), vget_high_u8(block)));
    }
    total.sum += vaddlvq_u32(sums);
    total.sum_of_squares += vaddlvq_u32(squares);
}

void flush_stream() {}

}  // namespace
}  // namespace selfie

#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_neon;
const PixelKernel kPixelKernel_neon = {"neon", decode, scale_and_shift, flush_stream};

}  // namespace selfie
