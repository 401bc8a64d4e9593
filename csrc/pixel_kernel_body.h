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
// table_lookup, bit_or, broadcast, min, max and mul_add, and for resizing ShortVector with widen, lerp,
// narrow, from_128ths and add_product; the types Float32, Float16 and Bfloat16 with Value and store<kStream>;
// add_sums over blocks of kSumLanes bytes; and flush_stream. Where kHasLineStores, it also defines
// store_line_bytes and stream_line, and Float16 and Bfloat16 have store_line<kStream>.
//
// Everything stands in an unnamed namespace. An inline function must never be shared between files of
// different instruction sets: the linker may hand AVX-512 code to a processor without it. Hence no standard
// library beyond memcpy and memset.

#include <cstring>

#include "pixel_kernel.h"
#include "pixel_kernel_colour.h"
#include "pixel_kernel_convert.h"
#include "pixel_kernel_resize.h"
#include "pixel_kernel_window.h"

namespace selfie {
namespace {

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
void decode_colour(const PixelPlan& plan, const std::uint8_t* window, const Draw& draw, Prefetch& coming,
                   typename Type::Value* out) {
    const std::size_t count = plan.crop_pixels();
    const WindowSums sums(plan, window);
    CrossSums cross;
    if (plan.normalize.mode == NormalizeMode::kPerImage) cross = cross_sums(window, count);
    Matrix matrix;
    float shift[3];
    compose_colour(plan.normalize, draw, sums.of, cross, count, matrix, shift);
    if (plan.channels_last)
        convert_colour_interleaved<Type, kStream>(window, count, matrix, shift, coming, out);
    else
        convert_colour_planes<Type, kStream>(window, count, matrix, shift, coming, out);
}

// window: null if it is not made yet; then this crops and flips, too.
template <class Type, bool kStream, template <std::ptrdiff_t> class Lanes>
void convert_channels(const PixelPlan& plan, const std::uint8_t* pixels, const std::uint8_t* window,
                      const Draw& draw, const float* scale, const float* shift, std::uint8_t* scratch,
                      Prefetch& coming, typename Type::Value* out) {
    const std::size_t channels = plan.layout.channels;
    const std::size_t count = plan.crop_pixels();
    const auto convert = [&](std::size_t channel, const auto& lanes, typename Type::Value* to) {
        if (window == nullptr)
            convert_window<Type, kStream>(plan, pixels + channel * plan.layout.plane_bytes(), draw, lanes,
                                          coming, to);
        else
            convert_planes<Type, kStream>(window + channel * count, count, lanes, coming, to);
    };
    if (!plan.channels_last || channels == 1) {
        for (std::size_t c = 0; c < channels; ++c)
            convert(c, Lanes<1>(scale + c, shift + c), out + c * count);
    } else if (channels == 3) {
        convert(0, Lanes<3>(scale, shift), out);
    } else {
        std::uint8_t* bytes = scratch + plan.image_values();
        interleave(window, count, channels, bytes);
        convert_interleaved<Type>(bytes, channels * count, channels, scale, shift, out);
    }
}

bool changes_nothing(const float* scale, const float* shift, std::size_t channels) {
    for (std::size_t c = 0; c < channels; ++c)
        if (scale[c] != 1 || shift[c] != 0) return false;
    return true;
}

template <class Type, bool kStream>
void decode_channels(const PixelPlan& plan, const std::uint8_t* pixels, const std::uint8_t* window,
                     const Draw& draw, std::uint8_t* scratch, Prefetch& coming, typename Type::Value* out) {
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    window_scale_and_shift(plan, window, draw, scale, shift);
    if constexpr (sizeof(typename Type::Value) == 1)
        if (changes_nothing(scale, shift, plan.layout.channels))
            return convert_channels<Type, kStream, LaneCopy>(plan, pixels, window, draw, scale, shift,
                                                             scratch, coming, out);
    convert_channels<Type, kStream, LaneScaleAndShift>(plan, pixels, window, draw, scale, shift, scratch,
                                                       coming, out);
}

template <class Type, bool kStream>
void decode_as(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
               Prefetch coming, typename Type::Value* out) {
    const std::size_t channels = plan.layout.channels;
    const bool any_order = !plan.channels_last || channels == 1 || channels == 3;
    const bool fused_window = can_fuse(plan) && any_order && !needs_sums(plan.augment, plan.normalize) &&
                              !plan.augment.resizes() && !plan.augment.has_colour();
    coming.spread_over(plan.image_values());
    const std::uint8_t* window = fused_window ? nullptr : find_window(plan, pixels, draw, scratch);
    if (plan.augment.has_colour())
        decode_colour<Type, kStream>(plan, window, draw, coming, out);
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
