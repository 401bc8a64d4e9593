// The pixel kernel, written once over vectors and included by each pixel_kernel_<isa>.cpp.
//
// The words are those of Highway, Google's SIMD library:
//   lane         one pixel of a vector
//   vector       kLanes lanes: ByteVector of uint8, FloatVector of float32
//   mask         one bit per lane, the lowest bit for lane 0
//   interleave   from planes (NCHW) to pixels whose channels are neighbours (NHWC)
//   stream       store past the caches
//
// Before the include, each pixel_kernel_<isa>.cpp defines load, masked_load, store, store_bytes,
// table_lookup, bit_or, broadcast, min, max and mul_add; the types Float32, Float16 and Bfloat16 with Value
// and store<kStream>; add_sums over blocks of kSumLanes bytes; and flush_stream.
//
// Everything stands in an unnamed namespace. An inline function must never be shared between files of
// different instruction sets: the linker may hand AVX-512 code to a processor without it. Hence no standard
// library beyond memcpy and memset.

#include <cstring>

#include "pixel_kernel.h"
#include "pixel_kernel_colour.h"
#include "pixel_kernel_resize.h"
#include "pixel_kernel_window.h"

namespace selfie {
namespace {

// Saturates: a value outside 0..255 becomes the nearest bound.
struct Uint8 {
    using Value = std::uint8_t;
    template <bool kStream>
    static void store(const FloatVector& values, Value* to) {
        store_bytes<kStream>(min(max(values, broadcast(0.0f)), broadcast(255.0f)), to);
    }
};

// The scale and shift of every lane: of one plane, or of three interleaved channels.
template <std::size_t kChannels>
struct LaneScaleAndShift {
    FloatVector scale[kChannels];
    FloatVector shift[kChannels];

    LaneScaleAndShift(const float* scales, const float* shifts) {
        float wide[2][kChannels * kLanes];
        for (std::size_t i = 0; i < kChannels * kLanes; ++i) {
            wide[0][i] = scales[i % kChannels];
            wide[1][i] = shifts[i % kChannels];
        }
        for (std::size_t k = 0; k < kChannels; ++k) {
            scale[k] = load(wide[0] + k * kLanes);
            shift[k] = load(wide[1] + k * kLanes);
        }
    }

    // Converts and stores one vector per channel, its lanes reordered by the tables. bytes_of(c) gives the
    // bytes of channel c.
    template <class Type, bool kStream, class BytesOf>
    void convert(BytesOf bytes_of, const LaneTables& tables, typename Type::Value* out) const {
        if constexpr (kChannels == 1) {
            const ByteVector bytes = table_lookup(bytes_of(0), load(tables.planar));
            Type::template store<kStream>(mul_add(bytes, scale[0], shift[0]), out);
        } else {
            const ByteVector bytes[] = {bytes_of(0), bytes_of(1), bytes_of(2)};
            for (std::size_t k = 0; k < 3; ++k) {
                const auto& from = tables.interleaved[k];
                const ByteVector mixed = bit_or(
                    bit_or(table_lookup(bytes[0], load(from[0])), table_lookup(bytes[1], load(from[1]))),
                    table_lookup(bytes[2], load(from[2])));
                Type::template store<kStream>(mul_add(mixed, scale[k], shift[k]), out + k * kLanes);
            }
        }
    }
};

// Converts whole planes of `count` pixels, which follow each other.
template <class Type, bool kStream, std::size_t kChannels>
void convert_planes(const std::uint8_t* planes, std::size_t count, const LaneScaleAndShift<kChannels>& lanes,
                    typename Type::Value* out) {
    if (count < kLanes) {  // scratch_bytes() has room to load a whole vector; out has none to store it
        typename Type::Value whole[kChannels * kLanes];
        lanes.template convert<Type, false>([&](std::size_t c) { return load(planes + c * count); }, kForward,
                                            whole);
        std::memcpy(out, whole, kChannels * count * sizeof *whole);
        return;
    }
    for_vectors(static_cast<std::ptrdiff_t>(count), [&](std::ptrdiff_t i) {
        lanes.template convert<Type, kStream>([&](std::size_t c) { return load(planes + c * count + i); },
                                              kForward, out + static_cast<std::ptrdiff_t>(kChannels) * i);
    });
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
template <class Type, bool kStream, std::size_t kChannels>
void convert_window(const PixelPlan& plan, const std::uint8_t* planes, const Draw& draw,
                    const LaneScaleAndShift<kChannels>& lanes, Prefetch& coming, typename Type::Value* out) {
    const LaneTables& tables = draw.flip ? kReversed : kForward;
    const std::size_t step = plan.layout.plane_bytes();
    // A streamed cache line must be filled without a gap, so vectors shorter than a line follow each other.
    constexpr bool kByRows = kChannels > 1 || (kStream && sizeof(typename Type::Value) < sizeof(float));
    for_window_vectors<kByRows>(
        plan, planes, draw,
        [&](const std::uint8_t* from, std::uint16_t mask, std::ptrdiff_t place) {
            lanes.template convert<Type, kStream>(
                [&](std::size_t c) { return masked_load(from + c * step, mask); }, tables,
                out + static_cast<std::ptrdiff_t>(kChannels) * place);
        },
        [&](std::ptrdiff_t pixels) { coming.advance(kChannels * static_cast<std::size_t>(pixels)); });
}

ChannelSums channel_sums(const std::uint8_t* bytes, std::size_t count) {
    constexpr std::size_t kMostBlocks = 65536 / kSumLanes;  // add_sums() counts in 32 bits
    ChannelSums sums;
    for (std::size_t left = count / kSumLanes; left > 0;) {
        const std::size_t blocks = left < kMostBlocks ? left : kMostBlocks;
        add_sums(bytes, blocks, sums);
        bytes += blocks * kSumLanes;
        left -= blocks;
    }
    for (std::size_t i = 0; i < count % kSumLanes; ++i) {
        sums.sum += bytes[i];
        sums.sum_of_squares += std::uint32_t{bytes[i]} * bytes[i];
    }
    return sums;
}

// The window of every plane: in the record if it is there unchanged, else made in scratch.
const std::uint8_t* find_window(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                                std::uint8_t* scratch) {
    if (plan.augment.resizes()) {
        if (plan.augment.antialias)
            filter_window(plan, pixels, draw, scratch, scratch);
        else
            resize_window(plan, pixels, draw, scratch, scratch);
        return scratch;
    }
    if (untouched(plan, draw) && plan.crop_pixels() >= kLanes) return pixels;
    copy_window(plan, pixels, draw, scratch);
    return scratch;
}

// Sums over the channels of a window, if they are needed.
struct WindowSums {
    ChannelSums of[kMaxChannels];

    WindowSums(const PixelPlan& plan, const std::uint8_t* window) {
        const std::size_t pixels = plan.crop_pixels();
        if (needs_sums(plan.augment, plan.normalize))
            for (std::size_t c = 0; c < plan.layout.channels; ++c)
                of[c] = channel_sums(window + c * pixels, pixels);
    }
};

void window_scale_and_shift(const PixelPlan& plan, const std::uint8_t* window, const Draw& draw, float* scale,
                            float* shift) {
    const WindowSums sums(plan, window);
    compose_scale_and_shift(plan.normalize, draw, sums.of, plan.layout.channels, plan.crop_pixels(), scale,
                            shift);
}

// Sets the part of a rectangle that lies inside the image to 0.
template <class Value>
void clear(const PixelPlan& plan, std::int64_t first_row, std::int64_t first_column, std::int64_t height,
           std::int64_t width, Value* out) {
    const std::int64_t rows = plan.augment.crop_height;
    const std::int64_t columns = plan.augment.crop_width;
    const auto clip = [](std::int64_t place, std::int64_t limit) {
        return static_cast<std::size_t>(place < 0 ? 0 : place < limit ? place : limit);
    };
    const std::size_t top = clip(first_row, rows);
    const std::size_t bottom = clip(first_row + height, rows);
    const std::size_t planes = plan.channels_last ? 1 : plan.layout.channels;
    const std::size_t step = plan.channels_last ? plan.layout.channels : 1;
    const std::size_t left = clip(first_column, columns) * step;
    const std::size_t right = clip(first_column + width, columns) * step;
    const std::size_t row_values = static_cast<std::size_t>(columns) * step;
    for (std::size_t p = 0; p < planes; ++p)
        for (std::size_t y = top; y < bottom; ++y)
            std::memset(out + p * plan.crop_pixels() + y * row_values + left, 0,
                        (right - left) * sizeof(Value));
}

template <class Type, bool kStream>
void decode_colour(const PixelPlan& plan, const std::uint8_t* window, const Draw& draw,
                   typename Type::Value* out) {
    const std::size_t count = plan.crop_pixels();
    const WindowSums sums(plan, window);
    CrossSums cross;
    if (plan.normalize.mode == NormalizeMode::kPerImage) cross = cross_sums(window, count);
    Matrix matrix;
    float shift[3];
    compose_colour(plan.normalize, draw, sums.of, cross, count, matrix, shift);
    if (plan.channels_last)
        convert_colour_interleaved<Type, kStream>(window, count, matrix, shift, out);
    else
        convert_colour_planes<Type, kStream>(window, count, matrix, shift, out);
}

template <class Type, bool kStream>
void decode_channels(const PixelPlan& plan, const std::uint8_t* pixels, const std::uint8_t* window,
                     const Draw& draw, std::uint8_t* scratch, Prefetch& coming, typename Type::Value* out) {
    const std::size_t channels = plan.layout.channels;
    const std::size_t count = plan.crop_pixels();
    const bool fused_window = window == nullptr;  // not made yet: crop, flip and convert in one pass
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    window_scale_and_shift(plan, window, draw, scale, shift);
    const auto convert = [&](const std::uint8_t* planes, const auto& lanes, typename Type::Value* to) {
        if (fused_window)
            convert_window<Type, kStream>(plan, planes, draw, lanes, coming, to);
        else
            convert_planes<Type, kStream>(planes, count, lanes, to);
    };
    const std::uint8_t* planes = fused_window ? pixels : window;
    if (!plan.channels_last || channels == 1) {
        const std::size_t step = fused_window ? plan.layout.plane_bytes() : count;
        for (std::size_t c = 0; c < channels; ++c)
            convert(planes + c * step, LaneScaleAndShift<1>(scale + c, shift + c), out + c * count);
    } else if (channels == 3) {
        convert(planes, LaneScaleAndShift<3>(scale, shift), out);
    } else {
        std::uint8_t* bytes = scratch + plan.image_values();
        interleave(window, count, channels, bytes);
        convert_interleaved<Type>(bytes, channels * count, channels, scale, shift, out);
    }
}

template <class Type, bool kStream>
void decode_as(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
               Prefetch coming, typename Type::Value* out) {
    const std::size_t channels = plan.layout.channels;
    const bool any_order = !plan.channels_last || channels == 1 || channels == 3;
    const bool fused_window = can_fuse(plan) && any_order && !needs_sums(plan.augment, plan.normalize) &&
                              !plan.augment.resizes() && !plan.augment.has_colour();
    const std::uint8_t* window = nullptr;
    if (!fused_window) {
        coming.finish();
        window = find_window(plan, pixels, draw, scratch);
    }
    if (plan.augment.has_colour())
        decode_colour<Type, kStream>(plan, window, draw, out);
    else
        decode_channels<Type, kStream>(plan, pixels, window, draw, scratch, coming, out);
    coming.finish();
    if (plan.augment.cutout > 0)
        clear(plan, draw.cutout_top, draw.cutout_left, plan.augment.cutout, plan.augment.cutout, out);
    if (draw.erase_height > 0)
        clear(plan, draw.erase_top, draw.erase_left, draw.erase_height, draw.erase_width, out);
}

template <class Type>
void decode_as(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
               bool stream, Prefetch coming, void* out) {
    auto* values = static_cast<typename Type::Value*>(out);
    if (stream)
        decode_as<Type, true>(plan, pixels, draw, scratch, coming, values);
    else
        decode_as<Type, false>(plan, pixels, draw, scratch, coming, values);
}

void decode(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
            bool stream, Prefetch coming, void* out) {
    switch (plan.type) {
        case PixelType::kFloat32:
            return decode_as<Float32>(plan, pixels, draw, scratch, stream, coming, out);
        case PixelType::kFloat16:
            return decode_as<Float16>(plan, pixels, draw, scratch, stream, coming, out);
        case PixelType::kBfloat16:
            return decode_as<Bfloat16>(plan, pixels, draw, scratch, stream, coming, out);
        case PixelType::kUint8:
            return decode_as<Uint8>(plan, pixels, draw, scratch, stream, coming, out);
    }
}

void scale_and_shift(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                     std::uint8_t* scratch, float* scale, float* shift) {
    window_scale_and_shift(plan, find_window(plan, pixels, draw, scratch), draw, scale, shift);
}

}  // namespace
}  // namespace selfie
