// Bytes to values and their stores for the pixel kernels. Included by pixel_kernel_body.h, which explains the
// words and the unnamed namespace.
#pragma once

#include <cstring>

#include "pixel_kernel.h"
#include "pixel_kernel_window.h"

namespace selfie {
namespace {

// Saturates: a value outside 0..255 becomes the nearest bound.
struct Uint8 {
    using Value = std::uint8_t;
    template <bool kStream>
    static void store(const FloatVector& values, Value* to) {
        store_bytes<kStream>(clamp(values), to);
    }
    template <bool kStream>
    static void store_line(const FloatVector* values, Value* to) {
        const FloatVector clamped[] = {clamp(values[0]), clamp(values[1]), clamp(values[2]),
                                       clamp(values[3])};
        store_line_bytes<kStream>(clamped, to);
    }
    static FloatVector clamp(const FloatVector& values) {
        return min(max(values, broadcast(0.0f)), broadcast(255.0f));
    }
};

// Vectors that fill a cache line.
template <class Type>
constexpr std::ptrdiff_t kVectorsOfLine = sizeof(float) / sizeof(typename Type::Value);

// Vectors to convert together and store at once: a cache line, where vectors are shorter. Past the caches,
// one store of a line is much faster than several of its parts; for bytes also within the caches.
template <class Type, bool kStream>
constexpr std::ptrdiff_t kGroupOf =
    kHasLineStores && (kStream || sizeof(typename Type::Value) == 1) ? kVectorsOfLine<Type> : 1;

// For calls of one lambda with several sizes of groups.
template <std::ptrdiff_t kVectors>
struct Group {
    static constexpr std::ptrdiff_t kCount = kVectors;
};

// Stores a group of each channel.
template <class Type, bool kStream, std::ptrdiff_t kVectors>
inline void store_group(const FloatVector (&values)[kVectors], typename Type::Value* to) {
    constexpr std::ptrdiff_t kOfLine = kVectorsOfLine<Type>;
    if constexpr (kGroupOf<Type, kStream> > 1 && kVectors % kOfLine == 0)
        for (std::ptrdiff_t k = 0; k < kVectors; k += kOfLine)
            Type::template store_line<kStream>(values + k, to + k * kLanes);
    else
        for (std::ptrdiff_t k = 0; k < kVectors; ++k)
            Type::template store<kStream>(values[k], to + k * kLanes);
}

// Calls use(i, vector) for each vector of a group, in the order of the output, its lanes reordered by the
// tables. bytes_of(c, g) gives vector g of channel c.
template <std::ptrdiff_t kChannels, std::ptrdiff_t kGroup, class BytesOf, class Use>
inline void for_group(BytesOf bytes_of, const LaneTables& tables, Use use) {
    for (std::ptrdiff_t g = 0; g < kGroup; ++g) {
        if constexpr (kChannels == 1) {
            use(g, table_lookup(bytes_of(0, g), load(tables.planar)));
        } else {
            const ByteVector bytes[] = {bytes_of(0, g), bytes_of(1, g), bytes_of(2, g)};
            for (std::ptrdiff_t k = 0; k < 3; ++k) {
                const auto& from = tables.interleaved[k];
                const ByteVector first = table_lookup(bytes[0], load(from[0]));
                const ByteVector second = table_lookup(bytes[1], load(from[1]));
                const ByteVector third = table_lookup(bytes[2], load(from[2]));
                use(3 * g + k, bit_or(bit_or(first, second), third));
            }
        }
    }
}

// The scale and shift of every lane: of one plane, or of three interleaved channels.
template <std::ptrdiff_t kChannels>
struct LaneScaleAndShift {
    static constexpr std::ptrdiff_t kOf = kChannels;
    FloatVector scale[kChannels];
    FloatVector shift[kChannels];

    LaneScaleAndShift(const float* scales, const float* shifts) {
        float wide[2][kChannels * kLanes];
        for (std::ptrdiff_t i = 0; i < kChannels * kLanes; ++i) {
            wide[0][i] = scales[i % kChannels];
            wide[1][i] = shifts[i % kChannels];
        }
        for (std::ptrdiff_t k = 0; k < kChannels; ++k) {
            scale[k] = load(wide[0] + k * kLanes);
            shift[k] = load(wide[1] + k * kLanes);
        }
    }

    // Converts and stores a group; see for_group().
    template <class Type, bool kStream, std::ptrdiff_t kGroup, class BytesOf>
    void convert(BytesOf bytes_of, const LaneTables& tables, typename Type::Value* out) const {
        FloatVector values[kGroup * kChannels];
        for_group<kChannels, kGroup>(bytes_of, tables, [&](std::ptrdiff_t i, const ByteVector& bytes) {
            values[i] = mul_add(bytes, scale[i % kChannels], shift[i % kChannels]);
        });
        store_group<Type, kStream>(values, out);
    }
};

// The same for a scale of 1 and a shift of 0 in bytes: copies them.
template <std::ptrdiff_t kChannels>
struct LaneCopy {
    static constexpr std::ptrdiff_t kOf = kChannels;

    LaneCopy(const float*, const float*) {}

    template <class Type, bool kStream, std::ptrdiff_t kGroup, class BytesOf>
    void convert(BytesOf bytes_of, const LaneTables& tables, std::uint8_t* out) const {
        constexpr std::ptrdiff_t kVectors = kGroup * kChannels;
        ByteVector values[kVectors];
        for_group<kChannels, kGroup>(bytes_of, tables,
                                     [&](std::ptrdiff_t i, const ByteVector& bytes) { values[i] = bytes; });
        if constexpr (kHasLineStores && kStream && kVectors % kVectorsOfLine<Type> == 0)
            for (std::ptrdiff_t k = 0; k < kVectors; k += kVectorsOfLine<Type>)
                stream_line(values + k, out + k * kLanes);
        else
            for (std::ptrdiff_t k = 0; k < kVectors; ++k) store(values[k], out + k * kLanes);
    }
};

// Converts whole planes of `count` pixels, which follow each other.
template <class Type, bool kStream, class Lanes>
void convert_planes(const std::uint8_t* planes, std::size_t count, const Lanes& lanes, Prefetch& coming,
                    typename Type::Value* out) {
    constexpr std::ptrdiff_t kChannels = Lanes::kOf;
    if (count < kLanes) {  // scratch_bytes() has room to load a whole vector; out has none to store it
        typename Type::Value whole[kChannels * kLanes];
        lanes.template convert<Type, false, 1>(
            [&](std::size_t c, std::ptrdiff_t) { return load(planes + c * count); }, kForward, whole);
        std::memcpy(out, whole, kChannels * count * sizeof *whole);
        return;
    }
    const auto convert = [&](auto group) {
        constexpr std::ptrdiff_t kGroup = decltype(group)::kCount;
        for_vectors<kGroup>(
            static_cast<std::ptrdiff_t>(count),
            [&](std::ptrdiff_t i) {
                lanes.template convert<Type, kStream, kGroup>(
                    [&](std::size_t c, std::ptrdiff_t g) {
                        return load(planes + c * count + static_cast<std::size_t>(i + g * kLanes));
                    },
                    kForward, out + kChannels * i);
            },
            [&](std::ptrdiff_t pixels) { coming.advance(static_cast<std::size_t>(kChannels * pixels)); });
    };
    constexpr std::ptrdiff_t kGroup = kGroupOf<Type, kStream>;
    if (kGroup > 1 && count % static_cast<std::size_t>(kGroup * kLanes) == 0)
        convert(Group<kGroup>());
    else
        convert(Group<1>());
}

// Converts interleaved bytes of any number of channels: scale and shift repeat with a period of channels.
template <class Type>
void convert_interleaved(const std::uint8_t* bytes, std::size_t values, std::size_t channels,
                         const float* scale, const float* shift, typename Type::Value* out) {
    float scales[kLanes + kMaxChannels];
    float shifts[kLanes + kMaxChannels];
    for (std::size_t i = 0; i < kLanes + channels; ++i) {
        scales[i] = scale[i % channels];
        shifts[i] = shift[i % channels];
    }
    const auto convert = [&](std::size_t i, typename Type::Value* to) {
        const std::size_t channel = i % channels;
        Type::template store<false>(mul_add(load(bytes + i), load(scales + channel), load(shifts + channel)),
                                    to);
    };
    if (values < kLanes) {
        typename Type::Value whole[kLanes];
        convert(0, whole);
        std::memcpy(out, whole, values * sizeof *whole);
        return;
    }
    for_vectors(static_cast<std::ptrdiff_t>(values),
                [&](std::ptrdiff_t i) { convert(static_cast<std::size_t>(i), out + i); });
}

void interleave(const std::uint8_t* planes, std::size_t pixels, std::size_t channels, std::uint8_t* out) {
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < pixels; ++i) out[i * channels + c] = planes[c * pixels + i];
}

// Crops, flips and converts in one pass: reads only the record, writes only the result.
template <class Type, bool kStream, class Lanes>
void convert_window(const PixelPlan& plan, const std::uint8_t* planes, const Draw& draw, const Lanes& lanes,
                    Prefetch& coming, typename Type::Value* out) {
    constexpr std::ptrdiff_t kChannels = Lanes::kOf;
    constexpr std::ptrdiff_t kGroup = kGroupOf<Type, kStream>;
    const LaneTables& tables = draw.flip ? kReversed : kForward;
    const std::size_t step = plan.layout.plane_bytes();
    const WindowVectors window(plan, planes, draw);
    const auto pause = [&](std::ptrdiff_t pixels) {
        coming.advance(static_cast<std::size_t>(kChannels * pixels));
    };
    const auto by_rows = [&](auto group) {
        constexpr std::ptrdiff_t kCount = decltype(group)::kCount;
        for_window_rows<kCount>(
            window,
            [&](const auto& vectors, std::ptrdiff_t place) {
                lanes.template convert<Type, kStream, kCount>(
                    [&](std::size_t c, std::ptrdiff_t g) { return vectors(g).load_plane(c * step); }, tables,
                    out + kChannels * place);
            },
            pause);
    };
    // Measured: single planes are faster column by column, interleaved ones row by row.
    if (kGroup > 1 && has_groups<kGroup>(plan))
        by_rows(Group<kGroup>());
    else if ((kChannels > 1 || (kStream && sizeof(typename Type::Value) < sizeof(float))) &&
             has_groups<1>(plan))
        by_rows(Group<1>());
    else
        for_window_columns(
            window,
            [&](const WindowVector& vector, std::ptrdiff_t place) {
                lanes.template convert<Type, kStream, 1>(
                    [&](std::size_t c, std::ptrdiff_t) { return vector.load_plane(c * step); }, tables,
                    out + kChannels * place);
            },
            pause);
}

}  // namespace
}  // namespace selfie
