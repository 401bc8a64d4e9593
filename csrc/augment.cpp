#include "augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace selfie {

namespace {

void check_side(const char* name, std::int64_t side, std::int64_t pad, PadMode mode, std::int64_t crop) {
    if (pad < 0 || pad > kMaxPlanePixels || (mode == PadMode::kReflect && pad >= side))
        throw std::invalid_argument(std::string("pad must not be negative, and reflection needs pad < ") +
                                    name + " = " + std::to_string(side) +
                                    ", got pad = " + std::to_string(pad));
    if (crop < 1 || crop > side + 2 * pad)
        throw std::invalid_argument(std::string("crop ") + name + " must be in 1.." +
                                    std::to_string(side + 2 * pad) + " (the padded image), got " +
                                    std::to_string(crop));
}

}  // namespace

void check_augment(const AugmentOptions& options, const RecordLayout& layout) {
    check_side("height", static_cast<std::int64_t>(layout.height), options.pad, options.pad_mode,
               options.crop_height);
    check_side("width", static_cast<std::int64_t>(layout.width), options.pad, options.pad_mode,
               options.crop_width);
    if (options.crop_height * options.crop_width > kMaxPlanePixels)
        throw std::invalid_argument("a crop has at most " + std::to_string(kMaxPlanePixels) +
                                    " pixels, got " + std::to_string(options.crop_height) + " x " +
                                    std::to_string(options.crop_width));
    if (options.cutout < 0 || options.cutout > kMaxPlanePixels)
        throw std::invalid_argument("cutout must not be negative, got " + std::to_string(options.cutout));
}

Draw draw_augmentation(const AugmentOptions& options, const RecordLayout& layout, const DrawKey& key) {
    Draw draw;
    const auto words = [&](Stream stream, std::uint64_t epoch) {
        return random_words(key.seed, epoch, key.index, stream, key.view);
    };
    const Words geometry = words(Stream::kGeometry, key.epoch);
    const auto place = [&](std::uint32_t word, std::size_t side, std::int64_t crop) {
        const std::int64_t choices = static_cast<std::int64_t>(side) + 2 * options.pad - crop + 1;
        return static_cast<std::int32_t>(random_below(word, choices) - options.pad);
    };
    draw.top = place(geometry[0], layout.height, options.crop_height);
    draw.left = place(geometry[1], layout.width, options.crop_width);
    if (options.flip == FlipMode::kRandom) draw.flip = geometry[2] >> 31;
    if (options.flip == FlipMode::kAlternate)
        draw.flip = ((words(Stream::kAlternateFlip, 0)[0] >> 31) ^ (key.epoch & 1)) != 0;
    draw.brightness = static_cast<float>(options.brightness * (2 * random_unit(geometry[3]) - 1));
    if (options.has_contrast() || options.cutout > 0) {
        const Words photometry = words(Stream::kPhotometry, key.epoch);
        const double range = options.contrast_high - options.contrast_low;
        draw.contrast = static_cast<float>(options.contrast_low + range * random_unit(photometry[0]));
        if (options.cutout > 0) {  // the centre is uniform over the image (DeVries and Taylor, 2017)
            const auto half = static_cast<std::int32_t>(options.cutout / 2);
            draw.cutout_top =
                static_cast<std::int32_t>(random_below(photometry[1], options.crop_height)) - half;
            draw.cutout_left =
                static_cast<std::int32_t>(random_below(photometry[2], options.crop_width)) - half;
        }
    }
    return draw;
}

bool needs_sums(const AugmentOptions& augment, const NormalizeOptions& normalize) {
    return augment.has_contrast() || normalize.mode == NormalizeMode::kPerImage;
}

// With contrast f, brightness d and the channel's mean m over the window, the photometric steps give
// (x + d - (m + d)) f + (m + d) = f x + (1 - f) m + d. Normalisation turns v into (v - mean) / std.
void compose_scale_and_shift(const NormalizeOptions& normalize, const Draw& draw, const ChannelSums* sums,
                             std::size_t channels, std::size_t pixels, float* scale, float* shift) {
    const double contrast = draw.contrast;
    const double brightness = draw.brightness;
    const auto count = static_cast<double>(pixels);
    const auto from_contrast = [&](std::size_t channel) {
        if (contrast == 1) return 0.0;
        return (1 - contrast) * (static_cast<double>(sums[channel].sum) / count);
    };
    const auto offset = [&](std::size_t channel) { return from_contrast(channel) + brightness; };
    switch (normalize.mode) {
        case NormalizeMode::kNone:
            for (std::size_t c = 0; c < channels; ++c) {
                scale[c] = static_cast<float>(contrast);
                shift[c] = static_cast<float>(offset(c));
            }
            return;
        case NormalizeMode::kPerChannel:
            for (std::size_t c = 0; c < channels; ++c) {
                const double unit = 255 * normalize.std[c];
                scale[c] = static_cast<float>(contrast / unit);
                shift[c] = static_cast<float>(offset(c) / unit - normalize.mean[c] / normalize.std[c]);
            }
            return;
        case NormalizeMode::kPerImage: {
            // Brightness shifts the mean and cancels. Contrast scales the variance within each channel and
            // leaves the distances between the channels' means.
            std::uint64_t total = 0;
            double within = 0;
            double between = 0;
            for (std::size_t c = 0; c < channels; ++c) total += sums[c].sum;
            const double mean = static_cast<double>(total) / (count * static_cast<double>(channels));
            for (std::size_t c = 0; c < channels; ++c) {
                const std::uint64_t sum = sums[c].sum;
                within += static_cast<double>(pixels * sums[c].sum_of_squares - sum * sum);
                const double distance = static_cast<double>(sum) / count - mean;
                between += distance * distance;
            }
            const double variance =
                (contrast * contrast * within / (count * count) + between) / static_cast<double>(channels);
            const double least = 1 / std::sqrt(count * static_cast<double>(channels));
            const double std = std::max(std::sqrt(variance), least);
            for (std::size_t c = 0; c < channels; ++c) {
                scale[c] = static_cast<float>(contrast / std);
                shift[c] = static_cast<float>((from_contrast(c) - mean) / std);
            }
            return;
        }
    }
}

}  // namespace selfie
