// Crop, flip and padding for the pixel kernels: visits a window vector by vector, or copies it. Included by
// pixel_kernel_body.h, which explains the words and the unnamed namespace.
#pragma once

#include <cstring>

#include "pixel_kernel.h"

namespace selfie {
namespace {

// Visits a row in vectors. Where they do not divide it, the last one overlaps the one before. count >=
// kLanes. pause(pixels) is called now and then with the number of pixels since the last call.
template <std::ptrdiff_t kGroup = 1, class Visit, class Pause>
inline void for_vectors(std::ptrdiff_t count, Visit visit, Pause pause) {
    constexpr std::ptrdiff_t kBetweenPauses = 64 * kLanes;
    std::ptrdiff_t i = 0;
    while (i <= count - kBetweenPauses) {
        for (const std::ptrdiff_t end = i + kBetweenPauses; i < end; i += kGroup * kLanes) visit(i);
        pause(kBetweenPauses);
    }
    for (; i <= count - kGroup * kLanes; i += kGroup * kLanes) visit(i);
    if (i < count) visit(count - kLanes);
}
template <class Visit>
inline void for_vectors(std::ptrdiff_t count, Visit visit) {
    for_vectors(count, visit, [](std::ptrdiff_t) {});
}

// For table_lookup(): pixels as they are, or interleaved; in order or reversed.
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

// A vector of the window: its address in the image and the mask of its lanes inside the image.
struct WindowVector {
    const std::uint8_t* from;
    std::uint16_t mask;

    [[gnu::always_inline]] ByteVector load_plane(std::size_t offset) const {
        return masked_load(from + offset, mask);
    }
};

// Where the vectors of a zero-padded plane's window come from. The window is at least kLanes wide.
struct WindowVectors {
    const std::uint8_t* corner;
    std::ptrdiff_t height, width, rows, columns, top, left;
    bool flip;

    WindowVectors(const PixelPlan& plan, const std::uint8_t* plane, const Draw& draw)
        : height(static_cast<std::ptrdiff_t>(plan.layout.height)),
          width(static_cast<std::ptrdiff_t>(plan.layout.width)),
          rows(plan.augment.crop_height),
          columns(plan.augment.crop_width),
          top(draw.top),
          left(draw.left),
          flip(draw.flip) {
        corner = plane + top * width + left;
    }

    std::ptrdiff_t source(std::ptrdiff_t x) const { return flip ? columns - kLanes - x : x; }
    unsigned inside(std::ptrdiff_t x) const {
        const auto bits_below = [](std::ptrdiff_t place) {
            return (1u << (place < 0 ? 0 : place < kLanes ? place : kLanes)) - 1;
        };
        return bits_below(width - left - source(x)) & ~bits_below(-left - source(x));
    }
    bool in_image(std::ptrdiff_t y) const { return top + y >= 0 && top + y < height; }
};

// Visits the vectors of a window column by column. visit(vector, place) receives the vector's place in the
// window, in pixels. pause(pixels) is called now and then with the number of pixels since the last call.
template <class Visit, class Pause>
inline void for_window_columns(const WindowVectors& window, Visit visit, Pause pause) {
    for_vectors(window.columns, [&](std::ptrdiff_t x) {
        const std::uint8_t* from = window.corner + window.source(x);
        const unsigned mask = window.inside(x);
        for (std::ptrdiff_t y = 0; y < window.rows; ++y)
            visit(WindowVector{from + y * window.width,
                               static_cast<std::uint16_t>(window.in_image(y) ? mask : 0)},
                  y * window.columns + x);
        pause(window.rows * kLanes);
    });
}

constexpr std::ptrdiff_t kMostRowVectors = 64;  // for_window_rows() has tables of this length

// Whether for_window_rows() can visit groups of kGroup vectors.
template <std::ptrdiff_t kGroup>
inline bool has_groups(const PixelPlan& plan) {
    return plan.augment.crop_width <= kMostRowVectors * kLanes &&
           (kGroup == 1 || plan.augment.crop_width % (kGroup * kLanes) == 0);
}

// The same row by row, kGroup neighbours at once: visit(vectors, place), where vectors(k) gives neighbour k.
// Needs has_groups<kGroup>().
template <std::ptrdiff_t kGroup, class Visit, class Pause>
inline void for_window_rows(const WindowVectors& window, Visit visit, Pause pause) {
    constexpr std::ptrdiff_t kRowsBetweenPauses = 8;
    std::ptrdiff_t place[kMostRowVectors];
    std::ptrdiff_t source[kMostRowVectors];
    unsigned mask[kMostRowVectors];
    std::ptrdiff_t count = 0;
    for_vectors(window.columns, [&](std::ptrdiff_t x) {
        place[count] = x;
        source[count] = window.source(x);
        mask[count++] = window.inside(x);
    });
    const std::uint8_t* row = window.corner;
    for (std::ptrdiff_t y = 0; y < window.rows; ++y, row += window.width) {
        const unsigned in_image = window.in_image(y) ? ~0u : 0;
        for (std::ptrdiff_t i = 0; i < count; i += kGroup)
            visit(
                [&](std::ptrdiff_t k) {
                    return WindowVector{row + source[i + k],
                                        static_cast<std::uint16_t>(mask[i + k] & in_image)};
                },
                y * window.columns + place[i]);
        if (y % kRowsBetweenPauses == kRowsBetweenPauses - 1) pause(kRowsBetweenPauses * window.columns);
    }
}

// Whether the two functions above can visit this window.
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
            for_window_columns(
                WindowVectors(plan, pixels, draw),
                [&](const WindowVector& vector, std::ptrdiff_t place) {
                    store(table_lookup(vector.load_plane(0), order), window + place);
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
