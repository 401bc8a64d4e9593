#include "augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
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

// NaN fails every comparison. Windows are made of these numbers: none may become an integer out of range.
void check_range(const char* name, double low, double high, double most) {
    if (!(low >= 0 && low <= high && high <= most))
        throw std::invalid_argument(std::string(name) + " must be finite and ascend from 0, got " +
                                    std::to_string(low) + ".." + std::to_string(high));
}

struct Rectangle {
    std::int32_t top;
    std::int32_t left;
    std::int32_t height;
    std::int32_t width;
};

constexpr std::uint32_t kAttempts = 10;  // as torchvision

// Half of the room, to the nearest integer, ties to even, as torchvision's center_crop.
std::int64_t center(std::int64_t room) {
    return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(room) / 2));
}

Words attempt_words(const DrawKey& key, Stream first, std::uint32_t attempt) {
    const auto stream = static_cast<Stream>(static_cast<std::uint32_t>(first) + attempt);
    return random_words(key.seed, key.epoch, key.index, stream, key.view);
}

double between(double low, double high, std::uint32_t word) { return low + (high - low) * random_unit(word); }

// The sides of a drawn rectangle: a part of the area, and a ratio that is uniform in its logarithm.
struct Sides {
    double longer;  // where the ratio is above 1
    double shorter;
};
Sides draw_sides(double area, double scale_low, double scale_high, double ratio_low, double ratio_high,
                 const Words& words) {
    const double target = area * between(scale_low, scale_high, words[0]);
    const double ratio = std::exp(between(std::log(ratio_low), std::log(ratio_high), words[1]));
    return {std::nearbyint(std::sqrt(target * ratio)), std::nearbyint(std::sqrt(target / ratio))};
}

// torchvision's RandomResizedCrop.get_params: an area and a ratio until they fit, else the largest centred
// window within the ratios.
Rectangle draw_resize_crop(const AugmentOptions& options, const RecordLayout& layout, const DrawKey& key) {
    const auto height = static_cast<std::int64_t>(layout.height);
    const auto width = static_cast<std::int64_t>(layout.width);
    const double area = static_cast<double>(height) * static_cast<double>(width);
    const auto rectangle = [](std::int64_t top, std::int64_t left, std::int64_t rows, std::int64_t columns) {
        return Rectangle{static_cast<std::int32_t>(top), static_cast<std::int32_t>(left),
                         static_cast<std::int32_t>(rows), static_cast<std::int32_t>(columns)};
    };
    for (std::uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
        const Words words = attempt_words(key, Stream::kResizeCrop, attempt);
        const auto [columns, rows] = draw_sides(area, options.scale_low, options.scale_high,
                                                options.ratio_low, options.ratio_high, words);
        if (columns < 1 || rows < 1 || columns > static_cast<double>(width) ||
            rows > static_cast<double>(height))
            continue;
        const auto h = static_cast<std::int64_t>(rows);
        const auto w = static_cast<std::int64_t>(columns);
        return rectangle(random_below(words[2], height - h + 1), random_below(words[3], width - w + 1), h, w);
    }
    const double ratio = static_cast<double>(width) / static_cast<double>(height);
    std::int64_t h = height;
    std::int64_t w = width;
    if (ratio < options.ratio_low)
        h = static_cast<std::int64_t>(std::nearbyint(static_cast<double>(w) / options.ratio_low));
    else if (ratio > options.ratio_high)
        w = static_cast<std::int64_t>(std::nearbyint(static_cast<double>(h) * options.ratio_high));
    h = std::min(std::max<std::int64_t>(h, 1), height);
    w = std::min(std::max<std::int64_t>(w, 1), width);
    return rectangle((height - h) / 2, (width - w) / 2, h, w);
}

// torchvision's RandomErasing.get_params: a rectangle smaller than the image, or none.
void draw_erase(const AugmentOptions& options, const DrawKey& key, Draw& draw) {
    const double area = static_cast<double>(options.crop_height) * static_cast<double>(options.crop_width);
    for (std::uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
        const Words words = attempt_words(key, Stream::kErase, attempt);
        const auto [rows, columns] = draw_sides(area, options.erase_scale_low, options.erase_scale_high,
                                                options.erase_ratio_low, options.erase_ratio_high, words);
        if (rows >= static_cast<double>(options.crop_height) ||
            columns >= static_cast<double>(options.crop_width))
            continue;
        draw.erase_height = static_cast<std::int32_t>(rows);
        draw.erase_width = static_cast<std::int32_t>(columns);
        draw.erase_top =
            static_cast<std::int32_t>(random_below(words[2], options.crop_height - draw.erase_height + 1));
        draw.erase_left =
            static_cast<std::int32_t>(random_below(words[3], options.crop_width - draw.erase_width + 1));
        return;
    }
}

constexpr double kLuma[3] = {0.299, 0.587, 0.114};  // Rec. 601
// The rotation of hue is luma + cos (1 - luma) + sin times this: a rotation in the plane of I and Q (NTSC).
constexpr double kHueSine[3][3] = {
    {0.167703, 0.329268, -0.496971}, {-0.328131, 0.035521, 0.29261}, {1.249733, -1.046508, -0.203224}};

// Saturation, then hue, then grayscale.
Matrix colour_matrix(const Draw& draw) {
    Matrix out;
    const double saturation = draw.saturation;
    constexpr double kTurn = 6.283185307179586;
    const double cosine = std::cos(kTurn * draw.hue);
    const double sine = std::sin(kTurn * draw.hue);
    for (std::size_t row = 0; row < 3; ++row)
        for (std::size_t column = 0; column < 3; ++column) {
            double value = 0;
            for (std::size_t k = 0; k < 3; ++k) {
                const double hue =
                    kLuma[k] + cosine * ((row == k ? 1 : 0) - kLuma[k]) + sine * kHueSine[row][k];
                const double saturated = (k == column ? saturation : 0) + (1 - saturation) * kLuma[column];
                value = value + hue * saturated;
            }
            out.at[3 * row + column] = static_cast<float>(draw.grayscale ? kLuma[column] : value);
        }
    return out;
}

}  // namespace

void check_augment(const AugmentOptions& options, const RecordLayout& layout) {
    if (options.resizes() && (options.pad != 0 || (options.resize_crop && options.resize_height > 0)))
        throw std::invalid_argument("pad, resize and resize_crop exclude each other, got more than one");
    const bool resized = options.resize_height != 0 || options.resize_width != 0;  // 0 x 0: not resized
    const std::int64_t height = resized ? options.resize_height : static_cast<std::int64_t>(layout.height);
    const std::int64_t width = resized ? options.resize_width : static_cast<std::int64_t>(layout.width);
    if (height < 1 || width < 1 || height > kMaxPlanePixels || width > kMaxPlanePixels)
        throw std::invalid_argument("resize must have positive sides, got " + std::to_string(height) + " x " +
                                    std::to_string(width));
    if (options.resize_crop) {
        if (options.crop_height < 1 || options.crop_width < 1 || options.crop_height > kMaxPlanePixels ||
            options.crop_width > kMaxPlanePixels)
            throw std::invalid_argument("crop must have positive sides, got " +
                                        std::to_string(options.crop_height) + " x " +
                                        std::to_string(options.crop_width));
    } else {
        check_side("height", height, options.pad, options.pad_mode, options.crop_height);
        check_side("width", width, options.pad, options.pad_mode, options.crop_width);
    }
    if (options.crop_height * options.crop_width > kMaxPlanePixels)
        throw std::invalid_argument("a crop must have at most " + std::to_string(kMaxPlanePixels) +
                                    " pixels, got " + std::to_string(options.crop_height) + " x " +
                                    std::to_string(options.crop_width));
    if (options.cutout < 0 || options.cutout > kMaxPlanePixels)
        throw std::invalid_argument("cutout must not be negative, got " + std::to_string(options.cutout));
    constexpr double kLargest = std::numeric_limits<double>::max();
    check_range("scale", options.scale_low, options.scale_high, 1);
    check_range("ratio", options.ratio_low, options.ratio_high, kLargest);
    check_range("erase_scale", options.erase_scale_low, options.erase_scale_high, 1);
    check_range("erase_ratio", options.erase_ratio_low, options.erase_ratio_high, kLargest);
    if (options.ratio_low == 0 || options.erase_ratio_low == 0)
        throw std::invalid_argument("a ratio must be positive, got 0");
    if (options.has_colour() && layout.channels != 3)
        throw std::invalid_argument("saturation, hue and grayscale need 3 channels, got " +
                                    std::to_string(layout.channels));
}

Draw draw_augmentation(const AugmentOptions& options, const RecordLayout& layout, const DrawKey& key) {
    Draw draw;
    const auto words = [&](Stream stream, std::uint64_t epoch) {
        return random_words(key.seed, epoch, key.index, stream, key.view);
    };
    const Words geometry = words(Stream::kGeometry, key.epoch);
    if (options.resize_crop) {
        const Rectangle window = draw_resize_crop(options, layout, key);
        draw.top = window.top;
        draw.left = window.left;
        draw.height = window.height;
        draw.width = window.width;
    } else {
        const bool resized = options.resize_height > 0;
        const auto place = [&](std::uint32_t word, std::int64_t side, std::int64_t crop) {
            const std::int64_t room = side + 2 * options.pad - crop;
            const std::int64_t place = options.crop_at_center ? center(room) : random_below(word, room + 1);
            return static_cast<std::int32_t>(place - options.pad);
        };
        draw.height = static_cast<std::int32_t>(options.crop_height);
        draw.width = static_cast<std::int32_t>(options.crop_width);
        draw.top =
            place(geometry[0], resized ? options.resize_height : static_cast<std::int64_t>(layout.height),
                  options.crop_height);
        draw.left =
            place(geometry[1], resized ? options.resize_width : static_cast<std::int64_t>(layout.width),
                  options.crop_width);
    }
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
    if (options.has_colour() || options.erase > 0) {
        const Words colour = words(Stream::kColour, key.epoch);
        const double range = options.saturation_high - options.saturation_low;
        draw.saturation = static_cast<float>(options.saturation_low + range * random_unit(colour[0]));
        draw.hue = static_cast<float>(options.hue * (2 * random_unit(colour[1]) - 1));
        draw.grayscale = random_unit(colour[2]) < options.grayscale;
        if (options.has_colour()) draw.colour = colour_matrix(draw);
        if (random_unit(colour[3]) < options.erase) draw_erase(options, key, draw);
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

// Photometry turns a byte x of channel j into f x + b_j, with b_j = (1 - f) m_j + d. The matrix M mixes
// those.
void compose_colour(const NormalizeOptions& normalize, const Draw& draw, const ChannelSums* sums,
                    const CrossSums& cross, std::size_t pixels, Matrix& matrix, float* shift) {
    const double contrast = draw.contrast;
    const auto count = static_cast<double>(pixels);
    const auto mixed = [&](std::size_t c, const double* values) {
        const float* row = draw.colour.at + 3 * c;
        return (row[0] * values[0] + row[1] * values[1]) + row[2] * values[2];
    };
    double offset[3];
    for (std::size_t j = 0; j < 3; ++j)
        offset[j] = (contrast == 1 ? 0.0 : (1 - contrast) * (static_cast<double>(sums[j].sum) / count)) +
                    draw.brightness;
    double unit[3] = {1, 1, 1};
    double origin[3] = {0, 0, 0};
    if (normalize.mode == NormalizeMode::kPerChannel)
        for (std::size_t c = 0; c < 3; ++c) {
            unit[c] = 255 * normalize.std[c];
            origin[c] = normalize.mean[c] / normalize.std[c];
        }
    double center = 0;
    if (normalize.mode == NormalizeMode::kPerImage) {
        double level[3];
        double means[3];
        for (std::size_t j = 0; j < 3; ++j)
            level[j] = contrast * (static_cast<double>(sums[j].sum) / count) + offset[j];
        for (std::size_t c = 0; c < 3; ++c) means[c] = mixed(c, level);
        center = ((means[0] + means[1]) + means[2]) / 3;
        const auto covariance = [&](std::uint64_t product, std::size_t j, std::size_t k) {
            // Exact: the products of sums fit 64 bits, the difference may be negative.
            return static_cast<double>(
                static_cast<std::int64_t>(pixels * product - sums[j].sum * sums[k].sum));
        };
        double within = 0;
        double between_channels = 0;
        for (std::size_t c = 0; c < 3; ++c) {
            const float* row = draw.colour.at + 3 * c;
            const double r = row[0];
            const double g = row[1];
            const double b = row[2];
            const double own = (r * r * covariance(sums[0].sum_of_squares, 0, 0) +
                                g * g * covariance(sums[1].sum_of_squares, 1, 1)) +
                               b * b * covariance(sums[2].sum_of_squares, 2, 2);
            const double shared =
                (r * g * covariance(cross.at[0], 0, 1) + r * b * covariance(cross.at[1], 0, 2)) +
                g * b * covariance(cross.at[2], 1, 2);
            within = within + (own + 2 * shared);
            const double distance = means[c] - center;
            between_channels = between_channels + distance * distance;
        }
        const double variance =
            (contrast * contrast * std::max(within, 0.0) / (count * count) + between_channels) / 3;
        const double std = std::max(std::sqrt(variance), 1 / std::sqrt(count * 3));
        for (double& one : unit) one = std;
    }
    for (std::size_t c = 0; c < 3; ++c) {
        for (std::size_t j = 0; j < 3; ++j)
            matrix.at[3 * c + j] = static_cast<float>(draw.colour.at[3 * c + j] * contrast / unit[c]);
        shift[c] = static_cast<float>((mixed(c, offset) - center) / unit[c] - origin[c]);
    }
}

}  // namespace selfie
