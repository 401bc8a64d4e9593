// Crop, flip and padding for the pixel kernels: visits a window vector by vector, or copies it. Included by
// pixel_kernel_body.h, which explains the words and the unnamed namespace.
#pragma once

#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

// Visits a row in vectors. Where they do not divide it, the last one overlaps the one before. count >=
// kLanes.
template <class Visit>
inline void for_vectors(std::ptrdiff_t count, Visit visit) {
    std::ptrdiff_t i = 0;
    for (; i <= count - kLanes; i += kLanes) visit(i);
    if (i < count) visit(count - kLanes);
}

// For table_lookup(): the lane that each byte comes from. kZeroLane gives 0.
constexpr std::uint8_t kZeroLane = 0x80;

struct LaneTables {
    alignas(kLanes) std::uint8_t planar[kLanes] = {};
    alignas(kLanes) std::uint8_t interleaved[3][3][kLanes] = {};  // [vector of the result][channel]

    constexpr explicit LaneTables(bool flip) {
        for (std::uint8_t i = 0; i < kLanes; ++i)
            planar[i] = static_cast<std::uint8_t>(flip ? kLanes - 1 - i : i);
        for (std::uint8_t i = 0; i < 3 * kLanes; ++i)
            for (std::uint8_t c = 0; c < 3; ++c)
                interleaved[i / kLanes][c][i % kLanes] = i % 3 == c ? planar[i / 3] : kZeroLane;
    }
};
constexpr LaneTables kForward(false);
constexpr LaneTables kReversed(true);

// Visits the window of a zero-padded plane vector by vector. visit(from, mask, place) receives the vector's
// address in the image, the mask of lanes inside the image, and the vector's place in the window. The window
// is at least kLanes wide. pause(pixels) is called now and then with the number of pixels since the last
// call. Measured: single planes are faster column by column, interleaved ones row by row.
template <bool kByRows, class Visit, class Pause>
inline void for_window_vectors(const PixelPlan& plan, const std::uint8_t* plane, const Draw& draw,
                               Visit visit, Pause pause) {
    const auto height = static_cast<std::ptrdiff_t>(plan.layout.height);
    const auto width = static_cast<std::ptrdiff_t>(plan.layout.width);
    const std::ptrdiff_t rows = plan.augment.crop_height;
    const std::ptrdiff_t columns = plan.augment.crop_width;
    const std::uint8_t* corner = plane + draw.top * width + draw.left;
    const auto source = [&](std::ptrdiff_t x) { return draw.flip ? columns - kLanes - x : x; };
    const auto inside = [&](std::ptrdiff_t x) {
        const auto bits_below = [](std::ptrdiff_t place) {
            return (1u << (place < 0 ? 0 : place < kLanes ? place : kLanes)) - 1;
        };
        return bits_below(width - draw.left - source(x)) & ~bits_below(-draw.left - source(x));
    };
    const auto in_image = [&](std::ptrdiff_t y) { return draw.top + y >= 0 && draw.top + y < height; };
    constexpr std::ptrdiff_t kMostVectors = 64;  // of a row
    constexpr std::ptrdiff_t kRowsBetweenPauses = 8;
    if (kByRows && columns <= kMostVectors * kLanes) {
        std::ptrdiff_t place[kMostVectors];
        unsigned mask[kMostVectors];
        std::ptrdiff_t count = 0;
        for_vectors(columns, [&](std::ptrdiff_t x) {
            place[count] = x;
            mask[count++] = inside(x);
        });
        for (std::ptrdiff_t y = 0; y < rows; ++y) {
            for (std::ptrdiff_t i = 0; i < count; ++i)
                visit(corner + y * width + source(place[i]),
                      static_cast<std::uint16_t>(in_image(y) ? mask[i] : 0), y * columns + place[i]);
            if (y % kRowsBetweenPauses == kRowsBetweenPauses - 1) pause(kRowsBetweenPauses * columns);
        }
    } else {
        for_vectors(columns, [&](std::ptrdiff_t x) {
            const std::uint8_t* from = corner + source(x);
            const unsigned mask = inside(x);
            for (std::ptrdiff_t y = 0; y < rows; ++y)
                visit(from + y * width, static_cast<std::uint16_t>(in_image(y) ? mask : 0), y * columns + x);
            pause(rows * kLanes);
        });
    }
}

// Whether for_window_vectors() can visit this window.
inline bool can_fuse(const PixelPlan& plan) {
    return kHasMaskedLoad && plan.augment.crop_width >= kLanes && plan.augment.pad_mode == PadMode::kZeros;
}

// Copies vectors, which is faster than memcpy for short rows.
inline void copy_row(const std::uint8_t* from, std::ptrdiff_t count, std::uint8_t* to) {
    if (count >= kLanes)
        for_vectors(count, [&](std::ptrdiff_t i) { store(load(from + i), to + i); });
    else
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[i];
}

inline void copy_row_reversed(const std::uint8_t* from, std::ptrdiff_t count, std::uint8_t* to) {
    const ByteVector order = load(kReversed.planar);
    if (count >= kLanes)
        for_vectors(count, [&](std::ptrdiff_t i) {
            store(table_lookup(load(from + count - kLanes - i), order), to + i);
        });
    else
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[count - 1 - i];
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
    if (can_fuse(plan)) {
        const ByteVector order = load((draw.flip ? kReversed : kForward).planar);
        for (std::size_t c = 0; c < plan.layout.channels; ++c) {
            for_window_vectors<false>(
                plan, pixels, draw,
                [&](const std::uint8_t* from, std::uint16_t mask, std::ptrdiff_t place) {
                    store(table_lookup(masked_load(from, mask), order), window + place);
                },
                [](std::ptrdiff_t) {});
            pixels += plan.layout.plane_bytes();
            window += plan.crop_pixels();
        }
        return;
    }
    const bool mirrored = plan.augment.pad_mode == PadMode::kReflect;
    // Columns begin..end-1 of the window lie inside the image.
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

// Whether the window is the unchanged image.
bool untouched(const PixelPlan& plan, const Draw& draw) {
    return draw.top == 0 && draw.left == 0 && !draw.flip &&
           plan.augment.crop_height == static_cast<std::int64_t>(plan.layout.height) &&
           plan.augment.crop_width == static_cast<std::int64_t>(plan.layout.width);
}

}  // namespace
}  // namespace selfie
