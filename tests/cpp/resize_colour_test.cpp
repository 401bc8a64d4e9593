// Tests of resizing and mixed colours against a slow telling of what one value must be.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "checks.h"
#include "record_file.h"

using namespace selfie;

namespace {

struct Tap {
    std::int64_t first;
    std::int64_t second;
    std::int64_t weight;
};

Tap tap(std::int64_t output, std::int64_t begin, std::int64_t length, std::int64_t outputs) {
    const double step = static_cast<double>(length) / static_cast<double>(outputs);
    const double wanted = static_cast<double>(begin) + (static_cast<double>(output) + 0.5) * step - 0.5;
    const double held =
        std::min(std::max(wanted, static_cast<double>(begin)), static_cast<double>(begin + length - 1));
    const double first = std::floor(held);
    const auto place = static_cast<std::int64_t>(first);
    return {place, std::min(place + 1, begin + length - 1),
            static_cast<std::int64_t>((held - first) * 32768)};
}

std::int64_t between(std::int64_t a, std::int64_t b, std::int64_t weight) {
    return a + (((b - a) * weight + (1 << 14)) >> 15);
}

// The byte of a stretched window.
std::uint8_t resized(const PixelPlan& plan, const std::uint8_t* plane, const Draw& draw, std::int64_t y,
                     std::int64_t x) {
    const std::int64_t columns = plan.augment.crop_width;
    const Tap row = tap(y, draw.top, draw.height, plan.augment.crop_height);
    const Tap column = tap(draw.flip ? columns - 1 - x : x, draw.left, draw.width, columns);
    const auto width = static_cast<std::int64_t>(plan.layout.width);
    const auto line = [&](std::int64_t at) {
        return between(plane[at * width + column.first] * 128, plane[at * width + column.second] * 128,
                       column.weight);
    };
    return static_cast<std::uint8_t>((between(line(row.first), line(row.second), row.weight) + 64) >> 7);
}

// The weights of the samples begin..begin+length-1 in an output, with antialiasing.
std::vector<std::int64_t> filter(std::int64_t output, std::int64_t begin, std::int64_t length,
                                 std::int64_t outputs) {
    const double step = static_cast<double>(length) / static_cast<double>(outputs);
    const double scale = std::max(step, 1.0);
    const double center = static_cast<double>(begin) + (static_cast<double>(output) + 0.5) * step;
    std::vector<double> parts(static_cast<std::size_t>(length));
    double total = 0;
    for (std::int64_t i = 0; i < length; ++i) {
        const auto sample = static_cast<double>(begin + i);
        if (sample < std::floor(center - scale + 0.5) || sample >= std::floor(center + scale + 0.5)) continue;
        parts[static_cast<std::size_t>(i)] = std::max(0.0, 1 - std::abs((sample - center + 0.5) / scale));
        total += parts[static_cast<std::size_t>(i)];
    }
    std::vector<std::int64_t> fixed;
    std::int64_t rest = 1 << 14;
    for (const double part : parts) {
        fixed.push_back(static_cast<std::int64_t>(std::floor(part / total * (1 << 14) + 0.5)));
        rest -= fixed.back();
    }
    *std::max_element(fixed.begin(), fixed.end()) += rest;
    return fixed;
}

// The byte of a stretched window, with antialiasing.
std::uint8_t filtered(const PixelPlan& plan, const std::uint8_t* plane, const Draw& draw, std::int64_t y,
                      std::int64_t x) {
    const std::int64_t columns = plan.augment.crop_width;
    const auto down = filter(y, draw.top, draw.height, plan.augment.crop_height);
    const auto across = filter(draw.flip ? columns - 1 - x : x, draw.left, draw.width, columns);
    const auto width = static_cast<std::int64_t>(plan.layout.width);
    std::int64_t sum = 1 << 20;
    for (std::int64_t row = 0; row < draw.height; ++row) {
        std::int64_t line = 64;
        for (std::int64_t column = 0; column < draw.width; ++column)
            line += across[static_cast<std::size_t>(column)] *
                    plane[(draw.top + row) * width + draw.left + column];
        sum += down[static_cast<std::size_t>(row)] * (line >> 7);
    }
    return static_cast<std::uint8_t>(sum >> 21);
}

void check_image(const PixelPlan& plan, const std::uint8_t* pixels, std::uint64_t index) {
    const Draw draw = draw_augmentation(plan.augment, plan.layout, {7, 1, index});
    const std::size_t channels = plan.layout.channels;
    const std::size_t count = plan.crop_pixels();
    std::vector<std::uint8_t> window(channels * count);
    for (std::size_t c = 0; c < channels; ++c)
        for (std::int64_t y = 0; y < plan.augment.crop_height; ++y)
            for (std::int64_t x = 0; x < plan.augment.crop_width; ++x)
                window[c * count + static_cast<std::size_t>(y * plan.augment.crop_width + x)] =
                    (plan.augment.antialias ? filtered : resized)(
                        plan, pixels + c * plan.layout.plane_bytes(), draw, y, x);
    ChannelSums sums[kMaxChannels];
    CrossSums cross;
    const auto sum = [&](std::size_t a, std::size_t b) {
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < count; ++i)
            total += std::uint64_t{window[a * count + i]} * window[b * count + i];
        return total;
    };
    for (std::size_t c = 0; c < channels; ++c) {
        for (std::size_t i = 0; i < count; ++i) sums[c].sum += window[c * count + i];
        sums[c].sum_of_squares = sum(c, c);
    }
    std::vector<float> wanted(channels * count);
    if (plan.augment.has_colour()) {
        cross.at[0] = sum(0, 1);
        cross.at[1] = sum(0, 2);
        cross.at[2] = sum(1, 2);
        Matrix matrix;
        float shift[3];
        compose_colour(plan.normalize, draw, sums, cross, count, matrix, shift);
        for (std::size_t c = 0; c < 3; ++c)
            for (std::size_t i = 0; i < count; ++i) {
                float value = shift[c];
                for (const std::size_t source : {2, 1, 0})
                    value = std::fma(static_cast<float>(window[source * count + i]),
                                     matrix.at[3 * c + source], value);
                wanted[c * count + i] = value;
            }
    } else {
        float scale[kMaxChannels];
        float shift[kMaxChannels];
        compose_scale_and_shift(plan.normalize, draw, sums, channels, count, scale, shift);
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t i = 0; i < count; ++i)
                wanted[c * count + i] =
                    std::fma(static_cast<float>(window[c * count + i]), scale[c], shift[c]);
    }
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    std::vector<float> out(channels * count);
    pixel_kernel().decode(plan, pixels, draw, scratch.data(), false, Prefetch(), out.data());
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < count; ++i) {
            const float got = plan.channels_last ? out[i * channels + c] : out[c * count + i];
            wrong += std::memcmp(&got, &wanted[c * count + i], sizeof got) != 0;
        }
    check(wrong == 0, std::to_string(wrong) + " values of a resized image, " + std::to_string(channels) +
                          "x" + std::to_string(plan.layout.height) + "x" + std::to_string(plan.layout.width) +
                          " to " + std::to_string(plan.augment.crop_height) + "x" +
                          std::to_string(plan.augment.crop_width));
}

}  // namespace

void test_resize_and_colour() {
    const std::vector<std::vector<std::int64_t>> shapes = {{3, 96, 96}, {3, 9, 17},   {1, 28, 28},
                                                           {3, 5, 4},   {2, 40, 200}, {3, 64, 70}};
    for (const auto& shape : shapes)
        for (const std::int64_t side : {1, 7, 16, 33, 64})
            for (int number = 0; number < 5; ++number) {
                PixelPlan plan = make_plan(make_layout(shape[0], shape[1], shape[2]));
                plan.channels_last = number & 1;
                plan.augment.crop_height = side;
                plan.augment.crop_width = side + 3;
                plan.augment.flip = FlipMode::kRandom;
                plan.augment.resize_crop = true;
                plan.augment.antialias = number == 4;
                plan.augment.scale_low = 0.05;
                plan.augment.ratio_low = 0.5;
                plan.augment.ratio_high = 2;
                plan.normalize.mode = NormalizeMode::kPerImage;
                if (number & 2 && shape[0] == 3) {
                    plan.augment.contrast_low = 0.5;
                    plan.augment.brightness = 20;
                    plan.augment.saturation_high = 2;
                    plan.augment.hue = 0.3;
                    plan.augment.grayscale = 0.2;
                }
                // Exactly the record's bytes: a sanitizer sees every byte too many.
                std::vector<std::uint8_t> pixels(plan.layout.pixel_bytes());
                for (std::size_t i = 0; i < pixels.size(); ++i)
                    pixels[i] = static_cast<std::uint8_t>(i * i + i / 7);
                for (std::uint64_t index = 0; index < 4; ++index) check_image(plan, pixels.data(), index);
            }
}

// Both sides are resized, or none: one alone would place windows of the image in the resized one.
void test_one_resized_side() {
    const RecordLayout layout = make_layout(3, 9, 17);
    for (const bool rows : {true, false})
        for (const bool resize_crop : {true, false}) {
            AugmentOptions augment = make_plan(layout).augment;
            (rows ? augment.resize_height : augment.resize_width) = 20;
            augment.resize_crop = resize_crop;
            check_throws<std::invalid_argument>([&] { check_augment(augment, layout); },
                                                "resize with one side");
        }
}
