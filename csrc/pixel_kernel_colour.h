// Mixed channels for the pixel kernels: value = matrix * bytes + shift, three fused multiply-adds.
// Included by pixel_kernel_body.h, which explains the words and the unnamed namespace.
#pragma once

#include <cstring>

#include "pixel_kernel.h"
#include "pixel_kernel_window.h"

namespace selfie {
namespace {

// For each vector of interleaved output, the pixel of each lane.
struct PixelOfLane {
    alignas(kLanes) std::uint8_t at[3][kLanes] = {};

    constexpr PixelOfLane() {
        for (std::uint8_t i = 0; i < 3 * kLanes; ++i) at[i / kLanes][i % kLanes] = i / 3;
    }
};
constexpr PixelOfLane kPixelOfLane;

struct LaneColour {
    FloatVector factor[3];  // of each input channel
    FloatVector shift;

    FloatVector mix(const ByteVector& red, const ByteVector& green, const ByteVector& blue) const {
        return mul_add(red, factor[0], mul_add(green, factor[1], mul_add(blue, factor[2], shift)));
    }
};

// Converts three planes of `count` pixels, which follow each other.
template <class Type, bool kStream>
void convert_colour_planes(const std::uint8_t* planes, std::size_t count, const Matrix& matrix,
                           const float* shift, Prefetch& coming, typename Type::Value* out) {
    for (std::size_t c = 0; c < 3; ++c, out += count) {
        const float* row = matrix.at + 3 * c;
        const LaneColour lanes = {{broadcast(row[0]), broadcast(row[1]), broadcast(row[2])},
                                  broadcast(shift[c])};
        const auto mixed = [&](std::size_t i) {
            return lanes.mix(load(planes + i), load(planes + count + i), load(planes + 2 * count + i));
        };
        if (count < kLanes) {
            typename Type::Value whole[kLanes];
            Type::template store<false>(mixed(0), whole);
            std::memcpy(out, whole, count * sizeof *whole);
        } else {
            for_vectors(
                static_cast<std::ptrdiff_t>(count),
                [&](std::ptrdiff_t i) {
                    Type::template store<kStream>(mixed(static_cast<std::size_t>(i)), out + i);
                },
                [&](std::ptrdiff_t pixels) { coming.advance(static_cast<std::size_t>(pixels)); });
        }
    }
}

template <bool kStream>
struct Stream {
    static constexpr bool kOn = kStream;
};

// The same, interleaved.
template <class Type, bool kStream>
void convert_colour_interleaved(const std::uint8_t* planes, std::size_t count, const Matrix& matrix,
                                const float* shift, Prefetch& coming, typename Type::Value* out) {
    LaneColour lanes[3];
    for (std::size_t k = 0; k < 3; ++k) {
        float values[4][kLanes];
        for (std::size_t i = 0; i < kLanes; ++i) {
            const std::size_t channel = (k * kLanes + i) % 3;
            for (std::size_t j = 0; j < 3; ++j) values[j][i] = matrix.at[3 * channel + j];
            values[3][i] = shift[channel];
        }
        lanes[k] = {{load(values[0]), load(values[1]), load(values[2])}, load(values[3])};
    }
    const auto convert = [&](std::size_t i, auto stream, typename Type::Value* to) {
        const ByteVector red = load(planes + i);
        const ByteVector green = load(planes + count + i);
        const ByteVector blue = load(planes + 2 * count + i);
        for (std::size_t k = 0; k < 3; ++k) {
            const ByteVector pixel = load(kPixelOfLane.at[k]);
            Type::template store<decltype(stream)::kOn>(
                lanes[k].mix(table_lookup(red, pixel), table_lookup(green, pixel), table_lookup(blue, pixel)),
                to + k * kLanes);
        }
    };
    if (count < kLanes) {
        typename Type::Value whole[3 * kLanes];
        convert(0, Stream<false>(), whole);
        std::memcpy(out, whole, 3 * count * sizeof *whole);
        return;
    }
    for_vectors(
        static_cast<std::ptrdiff_t>(count),
        [&](std::ptrdiff_t i) { convert(static_cast<std::size_t>(i), Stream<kStream>(), out + 3 * i); },
        [&](std::ptrdiff_t pixels) { coming.advance(3 * static_cast<std::size_t>(pixels)); });
}

CrossSums cross_sums(const std::uint8_t* planes, std::size_t count) {
    CrossSums sums;
    constexpr std::size_t kMost = 65536;  // products below 2^16: 32 bits hold so many
    for (std::size_t begin = 0; begin < count; begin += kMost) {
        const std::size_t end = count - begin < kMost ? count : begin + kMost;
        std::uint32_t part[3] = {};
        for (std::size_t i = begin; i < end; ++i) {
            const std::uint32_t red = planes[i];
            const std::uint32_t green = planes[count + i];
            const std::uint32_t blue = planes[2 * count + i];
            part[0] += red * green;
            part[1] += red * blue;
            part[2] += green * blue;
        }
        for (std::size_t k = 0; k < 3; ++k) sums.at[k] += part[k];
    }
    return sums;
}

}  // namespace
}  // namespace selfie
