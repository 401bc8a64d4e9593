// Options -> one record's draw -> crop window, flip, scale and shift.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "random.h"
#include "record.h"

namespace selfie {

enum class PadMode { kZeros, kReflect };
enum class FlipMode { kNone, kRandom, kAlternate };
enum class NormalizeMode { kNone, kPerImage, kPerChannel };

struct AugmentOptions {
    std::int64_t pad = 0;
    PadMode pad_mode = PadMode::kZeros;
    std::int64_t crop_height = 0;
    std::int64_t crop_width = 0;
    FlipMode flip = FlipMode::kNone;
    double brightness = 0;  // the delta lies in [-brightness, brightness), in byte units
    double contrast_low = 1;
    double contrast_high = 1;
    std::int64_t cutout = 0;  // side of the square

    bool crop_at_center = false;  // instead of a random place
    // The image is resized to this before the crop; 0: it is not.
    std::int64_t resize_height = 0;
    std::int64_t resize_width = 0;
    // A random part of the image is resized to the crop (torchvision's RandomResizedCrop).
    bool resize_crop = false;
    double scale_low = 1;  // of its area
    double scale_high = 1;
    double ratio_low = 1;  // of its width to its height
    double ratio_high = 1;

    bool antialias = false;  // of both

    double saturation_low = 1;
    double saturation_high = 1;
    double hue = 0;        // turns, from [-hue, hue)
    double grayscale = 0;  // probability

    double erase = 0;  // probability (torchvision's RandomErasing)
    double erase_scale_low = 0;
    double erase_scale_high = 0;
    double erase_ratio_low = 1;
    double erase_ratio_high = 1;

    bool has_contrast() const { return contrast_low != 1 || contrast_high != 1; }
    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    [[gnu::always_inline]] bool resizes() const { return resize_crop || resize_height > 0; }
    // Whether the channels are mixed.
    [[gnu::always_inline]] bool has_colour() const {
        return saturation_low != 1 || saturation_high != 1 || hue > 0 || grayscale > 0;
    }
};

struct NormalizeOptions {
    NormalizeMode mode = NormalizeMode::kNone;
    std::vector<double> mean;  // per channel, pixels in 0..1
    std::vector<double> std;
};

struct Matrix {
    float at[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};  // 3x3, row by row
};

// The augmentation of one record in one epoch. top, left, height and width: the window in the unpadded image
// (resize_crop stretches it to the crop), or in the resized one.
struct Draw {
    std::int32_t top = 0;
    std::int32_t left = 0;
    std::int32_t height = 0;
    std::int32_t width = 0;
    bool flip = false;
    float brightness = 0;
    float contrast = 1;
    std::int32_t cutout_top = 0;  // of the square in the finished image; it may reach outside
    std::int32_t cutout_left = 0;
    float saturation = 1;
    float hue = 0;  // turns
    bool grayscale = false;
    Matrix colour;               // saturation, hue and grayscale together
    std::int32_t erase_top = 0;  // of the rectangle in the finished image; height 0: none
    std::int32_t erase_left = 0;
    std::int32_t erase_height = 0;
    std::int32_t erase_width = 0;
};

// Throws std::invalid_argument if the options exclude each other, are out of range or do not fit the images.
void check_augment(const AugmentOptions& options, const RecordLayout& layout);

// Names one draw: the augmentation is a pure function of it.
struct DrawKey {
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
    std::uint64_t index = 0;
    std::uint32_t view = 0;
};

Draw draw_augmentation(const AugmentOptions& options, const RecordLayout& layout, const DrawKey& key);

// Exact sums over one channel of the crop window.
struct ChannelSums {
    std::uint64_t sum = 0;
    std::uint64_t sum_of_squares = 0;
};

// Sums of the products of two channels: 0 and 1, 0 and 2, 1 and 2.
struct CrossSums {
    std::uint64_t at[3] = {};
};

bool needs_sums(const AugmentOptions& augment, const NormalizeOptions& normalize);

// Composes brightness, contrast and normalisation per channel: value = scale * byte + shift. `sums` has
// `channels` entries over `pixels` pixels each. It is read only if needs_sums().
void compose_scale_and_shift(const NormalizeOptions& normalize, const Draw& draw, const ChannelSums* sums,
                             std::size_t channels, std::size_t pixels, float* scale, float* shift);

// The same with mixed channels: value = matrix * bytes + shift. cross is read only for kPerImage.
void compose_colour(const NormalizeOptions& normalize, const Draw& draw, const ChannelSums* sums,
                    const CrossSums& cross, std::size_t pixels, Matrix& matrix, float* shift);

}  // namespace selfie
