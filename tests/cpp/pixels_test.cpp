// Tests of the pixel kernels against a slow telling of what one value must be.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "checks.h"
#include "record_file.h"

using namespace selfie;

namespace {

// The rounding of one value, told slowly: the nearest of the two neighbours that the type has.
std::uint32_t rounded(float value, PixelType type) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (type == PixelType::kFloat32) return bits;
    if (type == PixelType::kUint8)
        return static_cast<std::uint32_t>(std::nearbyint(std::min(std::max(value, 0.0f), 255.0f)));
    if (type == PixelType::kBfloat16) {
        const std::uint32_t low = bits & 0xFFFFu;
        const bool up = low > 0x8000u || (low == 0x8000u && (bits >> 16 & 1u) != 0);
        return (bits >> 16) + (up ? 1 : 0);
    }
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const double size = std::fabs(static_cast<double>(value));
    if (size >= 65520) return sign | 0x7C00u;
    int exponent = -24;  // of 0, too
    if (size > 0) std::frexp(size, &exponent);
    const int step = std::max(exponent - 11, -24);  // half has 11 bits, and none below 2^-24
    const auto units = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, -step)));
    if (step == -24) return sign | units;  // subnormal, or the first normal number
    return sign | ((static_cast<std::uint32_t>(step + 24) << 10) + units);
}

// One finished value, told slowly: pad, crop, flip, fmaf, round, cutout.
std::uint32_t expected(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                       const float* scale, const float* shift, std::size_t c, std::int64_t y,
                       std::int64_t x) {
    const auto height = static_cast<std::int64_t>(plan.layout.height);
    const auto width = static_cast<std::int64_t>(plan.layout.width);
    const std::int64_t side = plan.augment.cutout;
    if (side > 0 && y >= draw.cutout_top && y < draw.cutout_top + side && x >= draw.cutout_left &&
        x < draw.cutout_left + side)
        return 0;
    std::int64_t row = draw.top + y;
    std::int64_t column = draw.left + (draw.flip ? plan.augment.crop_width - 1 - x : x);
    std::uint8_t value = 0;
    if (plan.augment.pad_mode == PadMode::kReflect) {
        row = row < 0 ? -row : row < height ? row : 2 * (height - 1) - row;
        column = column < 0 ? -column : column < width ? column : 2 * (width - 1) - column;
    }
    if (row >= 0 && row < height && column >= 0 && column < width)
        value = pixels[c * plan.layout.plane_bytes() + static_cast<std::size_t>(row * width + column)];
    return rounded(std::fma(static_cast<float>(value), scale[c], shift[c]), plan.type);
}

void check_image(const PixelPlan& plan, const std::uint8_t* pixels, std::uint64_t index, bool stream) {
    const Draw draw = draw_augmentation(plan.augment, plan.layout, {7, 1, index});
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    // Exactly the room that there is in a batch, aligned as there: a sanitizer sees every byte too many.
    const std::size_t bytes = (plan.image_bytes() + 63) / 64 * 64;
    auto* out = static_cast<std::uint8_t*>(std::aligned_alloc(64, bytes));
    std::memset(out, 0xAB, bytes);
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    const PixelKernel& kernel = pixel_kernel();
    kernel.scale_and_shift(plan, pixels, draw, scratch.data(), scale, shift);
    kernel.decode(plan, pixels, draw, scratch.data(), stream, Prefetch(pixels, plan.layout.pixel_bytes()),
                  out);
    kernel.flush_stream();
    const std::size_t value_bytes = pixel_type_bytes(plan.type);
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < plan.layout.channels; ++c)
        for (std::int64_t y = 0; y < plan.augment.crop_height; ++y)
            for (std::int64_t x = 0; x < plan.augment.crop_width; ++x) {
                const auto pixel = static_cast<std::size_t>(y * plan.augment.crop_width + x);
                const std::size_t place =
                    plan.channels_last ? pixel * plan.layout.channels + c : c * plan.crop_pixels() + pixel;
                std::uint32_t got = 0;
                std::memcpy(&got, out + place * value_bytes, value_bytes);
                wrong += got != expected(plan, pixels, draw, scale, shift, c, y, x);
            }
    for (std::size_t i = plan.image_bytes(); i < bytes; ++i) wrong += out[i] != 0xAB;
    check(wrong == 0, std::to_string(wrong) + " values of " + std::to_string(plan.layout.channels) + "x" +
                          std::to_string(plan.layout.height) + "x" + std::to_string(plan.layout.width) +
                          " type " + std::to_string(static_cast<int>(plan.type)) +
                          (plan.channels_last ? " NHWC" : " NCHW") + (stream ? " streamed" : ""));
    std::free(out);
}

}  // namespace

void test_pixels() {
    const std::vector<std::vector<std::int64_t>> shapes = {{3, 32, 32}, {1, 28, 28}, {3, 9, 17}, {4, 5, 20},
                                                           {2, 3, 4},   {5, 1, 1},   {3, 64, 64}};
    for (const auto& shape : shapes) {
        const RecordLayout layout = make_layout(shape[0], shape[1], shape[2]);
        std::vector<std::uint8_t> pixels(layout.pixel_bytes());
        for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i + i / 7);
        for (int number = 0; number < 96; ++number) {
            PixelPlan plan = make_plan(layout);
            plan.type = static_cast<PixelType>(number % 4);
            plan.channels_last = number & 4;
            plan.augment.flip = FlipMode::kRandom;
            const std::int64_t least = std::min(shape[1], shape[2]);
            plan.augment.pad_mode = number & 8 ? PadMode::kReflect : PadMode::kZeros;
            plan.augment.pad = number & 16 ? std::min<std::int64_t>(4, least - 1) : 0;
            if (number & 32) {
                plan.augment.crop_width = std::max<std::int64_t>(1, shape[2] - 1);
                plan.augment.contrast_low = 0.2;
                plan.augment.contrast_high = 1.8;
                plan.augment.brightness = 63;
                plan.augment.cutout = 3;
                plan.normalize.mode = NormalizeMode::kPerImage;
            } else if (number < 64) {  // else bytes stay what they are
                plan.normalize.mode = NormalizeMode::kPerChannel;
                plan.normalize.mean.assign(layout.channels, 0.47);
                plan.normalize.std.assign(layout.channels, number & 1 ? 0.25 : 1e-6);
            }
            for (std::uint64_t index = 0; index < 4; ++index) {
                check_image(plan, pixels.data(), index, false);
                if (plan.can_stream()) check_image(plan, pixels.data(), index, true);
            }
        }
    }
}

void test_sums() {
    // PerImage of an image that is half 0, half 255: mean 127.5, deviation 127.5, so -1 and 1.
    PixelPlan plan = make_plan(make_layout(1, 300, 300));
    plan.normalize.mode = NormalizeMode::kPerImage;
    std::vector<std::uint8_t> pixels(90000);
    std::fill(pixels.begin() + 45000, pixels.end(), std::uint8_t{255});
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    float scale = 0;
    float shift = 0;
    pixel_kernel().scale_and_shift(plan, pixels.data(), Draw(), scratch.data(), &scale, &shift);
    check(scale == static_cast<float>(1 / 127.5) && shift == -1.0f, "sums over more than 2^16 pixels");
}
