// Stateless random draws: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A draw is a pure function of (seed, epoch, index, stream), so batches, threads and
// ranks change nothing. docs/determinism.md lists the use of each word.
#pragma once

#include <array>
#include <cstdint>

namespace selfie {

enum class Stream : std::uint32_t {
    kGeometry = 0,         // crop row, crop column, random flip, brightness
    kPhotometry = 1,       // contrast, cutout row, cutout column
    kAlternateFlip = 2,    // drawn at epoch 0, then inverted in odd epochs
    kPermutation = 3,      // round keys 0..3 of a shuffle
    kPermutationHigh = 4,  // round keys 4..7
    kRotation = 5,         // where the quasi order's blocks begin
    kWeighted = 6,         // per position of an epoch: the record drawn by weight
    kColour = 7,           // saturation, hue, greyscale; whether to erase
    kResizeCrop = 32,      // and the nine that follow, one per attempt: area, ratio, row, column
    kErase = 64,           // and the nine that follow, as above
};

using Words = std::array<std::uint32_t, 4>;

// view: of the record in its batch; each has draws of its own. Below 2^24.
inline Words random_words(std::uint64_t seed, std::uint64_t epoch, std::uint64_t index, Stream stream,
                          std::uint32_t view = 0) {
    // The counter has 32 bits for the epoch: Loader refuses larger ones.
    Words counter = {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                     static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(stream) | view << 8};
    std::uint32_t key0 = static_cast<std::uint32_t>(seed);
    std::uint32_t key1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0,
                   static_cast<std::uint32_t>(product1),
                   static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
                   static_cast<std::uint32_t>(product0)};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// Uniform in 0..bound-1, for a bound of at most 2^32. The bias is below bound / 2^32.
inline std::int64_t random_below(std::uint32_t word, std::int64_t bound) {
    return static_cast<std::int64_t>(std::uint64_t{word} * static_cast<std::uint64_t>(bound) >> 32);
}

// Uniform in [0, 1), a multiple of 2^-53.
inline double random_unit(std::uint32_t high, std::uint32_t low) {
    return (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
}

// Uniform in [0, 1), a multiple of 2^-24.
inline double random_unit(std::uint32_t word) { return static_cast<double>(word >> 8) * 0x1p-24; }

}  // namespace selfie
