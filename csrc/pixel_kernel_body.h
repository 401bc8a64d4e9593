// The body of the pixel kernels, compiled once per instruction set by pixel_kernel_<isa>.cpp, each in an
// unnamed namespace: an inline function must never be shared between files with different instruction sets,
// or the linker may hand AVX-512 code to a processor without it. Hence also no standard library beyond memcpy
// and memset.

#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

// fmaf(value, scale, shift): one rounding. Without a fused instruction the product is exact in double (8 + 24
// bits), and rounding the sum to odd makes the second rounding harmless (Boldo and Melquiond, 2008).
inline float fused(std::uint8_t value, float scale, float shift) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(static_cast<float>(value), scale, shift);
#else
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
#endif
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
};

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
};

struct Bfloat16 {
    using Value = std::uint16_t;
    static Value convert(float value) {
        const std::uint32_t bits = bits_of(value);
        return static_cast<Value>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }
};

struct Uint8 {  // saturates
    using Value = std::uint8_t;
    static Value convert(float value) {
        const float low = value > 0.0f ? value : 0.0f;
        const float clamped = low < 255.0f ? low : 255.0f;
        return static_cast<Value>(bits_of(clamped + 0x1.8p23f));  // at 1.5 * 2^23 steps are whole numbers
    }
};

template <class Type>
void map_plane(const std::uint8_t* bytes, std::size_t count, float scale, float shift,
               typename Type::Value* out) {
    for (std::size_t i = 0; i < count; ++i) out[i] = Type::convert(fused(bytes[i], scale, shift));
}

// Interleaved channels: scale and shift repeat with a period of channels.
constexpr std::size_t kPeriods = 16;

template <class Type>
void map_interleaved(const std::uint8_t* bytes, std::size_t pixels, std::size_t channels, const float* scale,
                     const float* shift, typename Type::Value* out) {
    float scales[kPeriods * kMaxChannels];
    float shifts[kPeriods * kMaxChannels];
    const std::size_t period = kPeriods * channels;
    for (std::size_t i = 0; i < period; ++i) {
        scales[i] = scale[i % channels];
        shifts[i] = shift[i % channels];
    }
    const std::size_t values = pixels * channels;
    for (std::size_t begin = 0; begin < values; begin += period) {
        const std::size_t count = values - begin < period ? values - begin : period;
        for (std::size_t i = 0; i < count; ++i)
            out[begin + i] = Type::convert(fused(bytes[begin + i], scales[i], shifts[i]));
    }
}

void interleave(const std::uint8_t* planes, std::size_t pixels, std::size_t channels, std::uint8_t* out) {
    if (channels == 3) {
        for (std::size_t i = 0; i < pixels; ++i)
            for (std::size_t c = 0; c < 3; ++c) out[3 * i + c] = planes[c * pixels + i];
        return;
    }
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < pixels; ++i) out[i * channels + c] = planes[c * pixels + i];
}

// Rows are short: copy them in pieces of 16 bytes, the last piece overlapping the one before.
constexpr std::ptrdiff_t kPiece = 16;

inline void copy_row(const std::uint8_t* from, std::ptrdiff_t count, std::uint8_t* to) {
    if (count < kPiece) {
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[i];
        return;
    }
    for (std::ptrdiff_t i = 0; i <= count - kPiece; i += kPiece) std::memcpy(to + i, from + i, kPiece);
    std::memcpy(to + count - kPiece, from + count - kPiece, kPiece);
}

inline void reverse_piece(const std::uint8_t* from, std::uint8_t* to) {
    std::uint8_t piece[kPiece];
    for (std::ptrdiff_t i = 0; i < kPiece; ++i) piece[i] = from[kPiece - 1 - i];
    std::memcpy(to, piece, kPiece);
}

inline void copy_row_reversed(const std::uint8_t* from, std::ptrdiff_t count, std::uint8_t* to) {
    if (count < kPiece) {
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[count - 1 - i];
        return;
    }
    for (std::ptrdiff_t i = 0; i <= count - kPiece; i += kPiece)
        reverse_piece(from + count - kPiece - i, to + i);
    reverse_piece(from, to + count - kPiece);
}

// Without repeating the edge: -1 is 1, side is side - 2. The padding is smaller than the side.
inline std::ptrdiff_t reflect(std::ptrdiff_t place, std::ptrdiff_t side) {
    if (place < 0) return -place;
    return place < side ? place : 2 * (side - 1) - place;
}

// The cropped, flipped window of every plane: uint8[C][crop_height][crop_width].
void copy_window(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* window) {
    const auto height = static_cast<std::ptrdiff_t>(plan.layout.height);
    const auto width = static_cast<std::ptrdiff_t>(plan.layout.width);
    const std::ptrdiff_t rows = plan.augment.crop_height;
    const std::ptrdiff_t columns = plan.augment.crop_width;
    const bool mirrored = plan.augment.pad_mode == PadMode::kReflect;
    // Columns begin..end-1 of the window lie inside the picture.
    const std::ptrdiff_t begin = draw.left < 0 ? (-draw.left < columns ? -draw.left : columns) : 0;
    const std::ptrdiff_t room = width - draw.left;
    const std::ptrdiff_t end = room < columns ? (room > begin ? room : begin) : columns;
    for (std::size_t c = 0; c < plan.layout.channels; ++c) {
        const std::uint8_t* plane = pixels + c * plan.layout.plane_bytes();
        for (std::ptrdiff_t y = 0; y < rows; ++y, window += columns) {
            const std::ptrdiff_t wanted = draw.top + y;
            if (!mirrored && (wanted < 0 || wanted >= height)) {
                std::memset(window, 0, static_cast<std::size_t>(columns));
                continue;
            }
            const std::uint8_t* row = plane + (mirrored ? reflect(wanted, height) : wanted) * width;
            const std::uint8_t* inside = row + draw.left + begin;
            if (draw.flip)
                copy_row_reversed(inside, end - begin, window + columns - end);
            else
                copy_row(inside, end - begin, window + begin);
            const auto pad_column = [&](std::ptrdiff_t x) {
                const std::uint8_t value = mirrored ? row[reflect(draw.left + x, width)] : std::uint8_t{0};
                window[draw.flip ? columns - 1 - x : x] = value;
            };
            for (std::ptrdiff_t x = 0; x < begin; ++x) pad_column(x);
            for (std::ptrdiff_t x = end; x < columns; ++x) pad_column(x);
        }
    }
}

ChannelSums channel_sums(const std::uint8_t* bytes, std::size_t count) {
    constexpr std::size_t kBlock = 65536;  // 65536 * 255^2 fits 32 bits, which vectorise better than 64
    ChannelSums sums;
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
        const std::size_t length = count - begin < kBlock ? count - begin : kBlock;
        std::uint32_t sum = 0;
        std::uint32_t squares = 0;
        for (std::size_t i = 0; i < length; ++i) {
            const std::uint32_t value = bytes[begin + i];
            sum += value;
            squares += value * value;
        }
        sums.sum += sum;
        sums.sum_of_squares += squares;
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

template <class Type>
void decode_as(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
               void* destination) {
    auto* out = static_cast<typename Type::Value*>(destination);
    const std::size_t channels = plan.layout.channels;
    const std::size_t count = plan.crop_pixels();
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    copy_window(plan, pixels, draw, scratch);
    window_map(plan, scratch, draw, scale, shift);
    if (plan.channels_last && channels > 1) {
        std::uint8_t* interleaved = scratch + plan.picture_values();
        interleave(scratch, count, channels, interleaved);
        map_interleaved<Type>(interleaved, count, channels, scale, shift, out);
    } else {
        for (std::size_t c = 0; c < channels; ++c)
            map_plane<Type>(scratch + c * count, count, scale[c], shift[c], out + c * count);
    }
    if (plan.augment.cutout > 0) cut_out(plan, draw, out);
}

void decode(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
            void* out) {
    switch (plan.type) {
        case PixelType::kFloat32:
            return decode_as<Float32>(plan, pixels, draw, scratch, out);
        case PixelType::kFloat16:
            return decode_as<Float16>(plan, pixels, draw, scratch, out);
        case PixelType::kBfloat16:
            return decode_as<Bfloat16>(plan, pixels, draw, scratch, out);
        case PixelType::kUint8:
            return decode_as<Uint8>(plan, pixels, draw, scratch, out);
    }
}

void picture_map(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                 float* scale, float* shift) {
    copy_window(plan, pixels, draw, scratch);
    window_map(plan, scratch, draw, scale, shift);
}

}  // namespace
}  // namespace selfie
