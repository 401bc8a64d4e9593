// The body of the pixel kernels, included once by each pixel_kernel_<isa>.cpp, after that file's own Bytes
// and Floats (16 pixels) and what can be done with them. Everything stands in an unnamed namespace: an inline
// function must never be shared between files with different instruction sets, or the linker may hand AVX-512
// code to a processor without it. Hence also no standard library beyond memcpy and memset.

#include <cstring>

#include "pixel_kernel.h"
#include "pixel_kernel_window.h"

namespace selfie {
namespace {

// Channels that are mapped together: one as it is, or three interleaved.
template <std::size_t kChannels>
struct Group {
    Floats scale[kChannels];
    Floats shift[kChannels];

    Group(const float* scales, const float* shifts) {
        float wide[2][kChannels * kPiece];
        for (std::size_t i = 0; i < kChannels * kPiece; ++i) {
            wide[0][i] = scales[i % kChannels];
            wide[1][i] = shifts[i % kChannels];
        }
        for (std::size_t k = 0; k < kChannels; ++k) {
            scale[k] = load(wide[0] + k * kPiece);
            shift[k] = load(wide[1] + k * kPiece);
        }
    }

    // Maps one piece, its pixels moved to their places; bytes_of(c) gives the bytes of channel c.
    template <class Type, bool kStream, class BytesOf>
    void put(BytesOf bytes_of, const Places& places, typename Type::Value* out) const {
        if constexpr (kChannels == 1) {
            const Bytes bytes = shuffle(bytes_of(0), load(places.planar));
            Type::template store<kStream>(fused(bytes, scale[0], shift[0]), out);
        } else {
            const Bytes bytes[] = {bytes_of(0), bytes_of(1), bytes_of(2)};
            for (std::size_t k = 0; k < 3; ++k) {
                const auto& from = places.interleaved[k];
                const Bytes mixed =
                    either(either(shuffle(bytes[0], load(from[0])), shuffle(bytes[1], load(from[1]))),
                           shuffle(bytes[2], load(from[2])));
                Type::template store<kStream>(fused(mixed, scale[k], shift[k]), out + k * kPiece);
            }
        }
    }
};

// Maps whole planes of `count` pixels that follow each other.
template <class Type, bool kStream, std::size_t kChannels>
void map_planes(const std::uint8_t* planes, std::size_t count, const Group<kChannels>& group,
                typename Type::Value* out) {
    if (count < kPiece) {  // there is room to read a whole piece (scratch_bytes()), none to write it
        typename Type::Value piece[kChannels * kPiece];
        group.template put<Type, false>([&](std::size_t c) { return load(planes + c * count); }, kStraight,
                                        piece);
        std::memcpy(out, piece, kChannels * count * sizeof *piece);
        return;
    }
    for_pieces(static_cast<std::ptrdiff_t>(count), [&](std::ptrdiff_t i) {
        group.template put<Type, kStream>([&](std::size_t c) { return load(planes + c * count + i); },
                                          kStraight, out + static_cast<std::ptrdiff_t>(kChannels) * i);
    });
}

// Interleaved bytes of any number of channels: scale and shift repeat with a period of channels.
template <class Type>
void map_interleaved(const std::uint8_t* bytes, std::size_t values, std::size_t channels, const float* scale,
                     const float* shift, typename Type::Value* out) {
    float scales[kPiece + kMaxChannels];
    float shifts[kPiece + kMaxChannels];
    for (std::size_t i = 0; i < kPiece + channels; ++i) {
        scales[i] = scale[i % channels];
        shifts[i] = shift[i % channels];
    }
    const auto mapped = [&](std::size_t i, typename Type::Value* to) {
        const std::size_t channel = i % channels;
        Type::template store<false>(fused(load(bytes + i), load(scales + channel), load(shifts + channel)),
                                    to);
    };
    if (values < kPiece) {
        typename Type::Value piece[kPiece];
        mapped(0, piece);
        std::memcpy(out, piece, values * sizeof *piece);
        return;
    }
    for_pieces(static_cast<std::ptrdiff_t>(values),
               [&](std::ptrdiff_t i) { mapped(static_cast<std::size_t>(i), out + i); });
}

void interleave(const std::uint8_t* planes, std::size_t pixels, std::size_t channels, std::uint8_t* out) {
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < pixels; ++i) out[i * channels + c] = planes[c * pixels + i];
}

// Crops, flips and maps in one go: nothing but the record is read, nothing but the result written.
template <class Type, bool kStream, std::size_t kChannels>
void map_window(const PixelPlan& plan, const std::uint8_t* planes, const Draw& draw,
                const Group<kChannels>& group, Prefetch& coming, typename Type::Value* out) {
    const Places& places = draw.flip ? kReversed : kStraight;
    const std::size_t step = plan.layout.plane_bytes();
    // A streamed line of memory must be filled at once: pieces of less than a line have to follow each other.
    constexpr bool kByRows = kChannels > 1 || (kStream && sizeof(typename Type::Value) < sizeof(float));
    for_window_pieces<kByRows>(
        plan, planes, draw,
        [&](const std::uint8_t* from, std::uint16_t mask, std::ptrdiff_t place) {
            group.template put<Type, kStream>(
                [&](std::size_t c) { return load_masked(from + c * step, mask); }, places,
                out + static_cast<std::ptrdiff_t>(kChannels) * place);
        },
        [&](std::ptrdiff_t pixels) { coming.advance(kChannels * static_cast<std::size_t>(pixels)); });
}

ChannelSums channel_sums(const std::uint8_t* bytes, std::size_t count) {
    constexpr std::size_t kMostBlocks = 65536 / kSumBlock;
    ChannelSums sums;
    for (std::size_t left = count / kSumBlock; left > 0;) {
        const std::size_t blocks = left < kMostBlocks ? left : kMostBlocks;
        add_up(bytes, blocks, sums);
        bytes += blocks * kSumBlock;
        left -= blocks;
    }
    for (std::size_t i = 0; i < count % kSumBlock; ++i) {
        sums.sum += bytes[i];
        sums.sum_of_squares += std::uint32_t{bytes[i]} * bytes[i];
    }
    return sums;
}

void window_map(const PixelPlan& plan, const std::uint8_t* window, const Draw& draw, float* scale,
                float* shift) {
    ChannelSums sums[kMaxChannels];
    const std::size_t pixels = plan.crop_pixels();
    if (needs_sums(plan.augment, plan.normalize))
        for (std::size_t c = 0; c < plan.layout.channels; ++c)
            sums[c] = channel_sums(window + c * pixels, pixels);
    linear_map(plan.normalize, draw, sums, plan.layout.channels, pixels, scale, shift);
}

// Sets the part of the square that lies inside the picture to 0.
template <class Value>
void cut_out(const PixelPlan& plan, const Draw& draw, Value* out) {
    const std::int64_t rows = plan.augment.crop_height;
    const std::int64_t columns = plan.augment.crop_width;
    const std::int64_t side = plan.augment.cutout;
    const auto clip = [](std::int64_t place, std::int64_t limit) {
        return static_cast<std::size_t>(place < 0 ? 0 : place < limit ? place : limit);
    };
    const std::size_t top = clip(draw.cutout_top, rows);
    const std::size_t bottom = clip(draw.cutout_top + side, rows);
    const std::size_t planes = plan.channels_last ? 1 : plan.layout.channels;
    const std::size_t step = plan.channels_last ? plan.layout.channels : 1;
    const std::size_t left = clip(draw.cutout_left, columns) * step;
    const std::size_t right = clip(draw.cutout_left + side, columns) * step;
    const std::size_t row_values = static_cast<std::size_t>(columns) * step;
    for (std::size_t p = 0; p < planes; ++p)
        for (std::size_t y = top; y < bottom; ++y)
            std::memset(out + p * plan.crop_pixels() + y * row_values + left, 0,
                        (right - left) * sizeof(Value));
}

template <class Type, bool kStream>
void decode_as(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
               Prefetch coming, typename Type::Value* out) {
    const std::size_t channels = plan.layout.channels;
    const std::size_t count = plan.crop_pixels();
    const bool interleaved = plan.channels_last && channels > 1;
    const bool fused_window =
        can_fuse(plan) && (channels == 3 || !interleaved) && !needs_sums(plan.augment, plan.normalize);
    if (!fused_window) coming.finish();
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    const std::uint8_t* window = fused_window ? pixels : find_window(plan, pixels, draw, scratch);
    window_map(plan, window, draw, scale, shift);
    const auto map = [&](const std::uint8_t* planes, const auto& group, typename Type::Value* to) {
        if (fused_window)
            map_window<Type, kStream>(plan, planes, draw, group, coming, to);
        else
            map_planes<Type, kStream>(planes, count, group, to);
    };
    if (!interleaved) {
        const std::size_t step = fused_window ? plan.layout.plane_bytes() : count;
        for (std::size_t c = 0; c < channels; ++c)
            map(window + c * step, Group<1>(scale + c, shift + c), out + c * count);
    } else if (channels == 3) {
        map(window, Group<3>(scale, shift), out);
    } else {
        std::uint8_t* bytes = scratch + plan.picture_values();
        interleave(window, count, channels, bytes);
        map_interleaved<Type>(bytes, channels * count, channels, scale, shift, out);
    }
    coming.finish();
    if (plan.augment.cutout > 0) cut_out(plan, draw, out);
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

void picture_map(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                 float* scale, float* shift) {
    window_map(plan, find_window(plan, pixels, draw, scratch), draw, scale, shift);
}

}  // namespace
}  // namespace selfie
