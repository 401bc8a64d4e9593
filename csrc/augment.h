// Options -> one record's draw -> crop window, flip, scale and shift.
#pragma once

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

    bool has_contrast() const { return contrast_low != 1 || contrast_high != 1; }
};

struct NormalizeOptions {
    NormalizeMode mode = NormalizeMode::kNone;
    std::vector<double> mean;  // per channel, pixels in 0..1
    std::vector<double> std;
};

// The augmentation of one record in one epoch. top and left place the crop in the unpadded image.
struct Draw {
    std::int32_t top = 0;
    std::int32_t left = 0;
    bool flip = false;
    float brightness = 0;
    float contrast = 1;
    std::int32_t cutout_top = 0;  // of the square in the finished image; it may reach outside
    std::int32_t cutout_left = 0;
};

// Throws std::invalid_argument if the crop does not fit the padded image, or reflection the padding.
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

// Composes brightness, contrast and normalisation per channel: value = scale * byte + shift. `sums` has
// `channels` entries over `pixels` pixels each. It is read only if needs_sums().
bool needs_sums(const AugmentOptions& augment, const NormalizeOptions& normalize);
void compose_scale_and_shift(const NormalizeOptions& normalize, const Draw& draw, const ChannelSums* sums,
                             std::size_t channels, std::size_t pixels, float* scale, float* shift);

}  // namespace selfie
