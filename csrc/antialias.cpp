// The tables of the triangle that resizing with antialiasing weighs its neighbours by.
#include "antialias.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace selfie {

namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Output i lies at begin + (i + 1/2) step; samples low..high count, each half a step from its number on.
struct Axis {
    double begin;
    double step;
    std::int64_t low;
    std::int64_t high;
};

Axis axis_of(std::int32_t place, std::int32_t length, std::size_t side, std::int64_t resized,
             std::int64_t outputs) {
    if (resized == 0)  // the window, stretched
        return {static_cast<double>(place), static_cast<double>(length) / static_cast<double>(outputs), place,
                std::int64_t{place} + length - 1};
    const double step = static_cast<double>(side) / static_cast<double>(resized);
    return {static_cast<double>(place) * step, step, 0, static_cast<std::int64_t>(side) - 1};
}

// The most neighbours that any output of any draw has.
std::int64_t most_taps(std::size_t side, std::int64_t resized, std::int64_t outputs) {
    const double step = static_cast<double>(side) / static_cast<double>(resized == 0 ? outputs : resized);
    const auto reach = static_cast<std::int64_t>(std::ceil(std::max(step, 1.0)));
    return std::min(static_cast<std::int64_t>(side), 2 * reach + 2);
}

// A triangle of one step to each side (of one sample where the image grows), as in Pillow.
void fill(const Axis& axis, std::int64_t outputs, std::int64_t most, bool mirrored, FilterAxis& table) {
    const double scale = std::max(axis.step, 1.0);
    table.taps = std::min(most, axis.high - axis.low + 1);
    for (std::int64_t i = 0; i < outputs; ++i) {
        const std::int64_t place = mirrored ? outputs - 1 - i : i;
        const double center = axis.begin + (static_cast<double>(place) + 0.5) * axis.step;
        const auto begin = std::max(axis.low, static_cast<std::int64_t>(std::floor(center - scale + 0.5)));
        const auto end = std::min(axis.high + 1, static_cast<std::int64_t>(std::floor(center + scale + 0.5)));
        const auto weight = [&](std::int64_t sample) {
            const double distance = (static_cast<double>(sample) - center + 0.5) / scale;
            return std::max(0.0, 1.0 - std::abs(distance));
        };
        double total = 0;
        for (std::int64_t sample = begin; sample < end; ++sample) total += weight(sample);
        // Never beyond the samples that count: all taps are read, also those of weight 0.
        const std::int64_t first = std::min(begin, axis.high + 1 - table.taps);
        table.first[i] = static_cast<std::int32_t>(first);
        std::int16_t* weights = table.weights + i * table.taps;
        std::fill_n(weights, table.taps, std::int16_t{0});
        std::int32_t rest = kFilterOne;
        std::int64_t largest = begin - first;
        for (std::int64_t sample = begin; sample < end; ++sample) {
            const auto value = static_cast<std::int16_t>(weight(sample) / total * kFilterOne + 0.5);
            weights[sample - first] = value;
            rest -= value;
            if (value > weights[largest]) largest = sample - first;
        }
        weights[largest] = static_cast<std::int16_t>(weights[largest] + rest);
    }
}

// Calls take(pointer, values) for each table.
template <class Take>
void lay_out(const AugmentOptions& options, const RecordLayout& layout, FilterTables& tables, Take take) {
    const auto rows = static_cast<std::size_t>(options.crop_height);
    const auto columns = static_cast<std::size_t>(options.crop_width);
    const auto row_taps =
        static_cast<std::size_t>(most_taps(layout.height, options.resize_height, options.crop_height));
    const auto column_taps =
        static_cast<std::size_t>(most_taps(layout.width, options.resize_width, options.crop_width));
    tables.line = columns;
    take(tables.rows.first, rows);
    take(tables.rows.weights, rows * row_taps);
    take(tables.columns.first, columns);
    take(tables.columns.weights, columns * column_taps);
    take(tables.lines, row_taps * columns);
    take(tables.held, row_taps);
    take(tables.sums, columns);
}

}  // namespace

std::size_t filter_scratch_bytes(const AugmentOptions& options, const RecordLayout& layout) {
    FilterTables tables;
    std::size_t bytes = kAlignment;
    lay_out(options, layout, tables,
            [&](auto*& place, std::size_t values) { bytes += aligned(values * sizeof(*place)); });
    return bytes;
}

FilterTables make_filter_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch) {
    std::uint8_t* room =
        scratch + (kAlignment - reinterpret_cast<std::uintptr_t>(scratch) % kAlignment) % kAlignment;
    FilterTables tables;
    lay_out(options, layout, tables, [&](auto*& place, std::size_t values) {
        place = reinterpret_cast<std::remove_reference_t<decltype(place)>>(room);
        room += aligned(values * sizeof(*place));
    });
    const auto resized = [&](std::int64_t side) { return options.resize_crop ? 0 : side; };
    fill(axis_of(draw.top, draw.height, layout.height, resized(options.resize_height), options.crop_height),
         options.crop_height, most_taps(layout.height, options.resize_height, options.crop_height), false,
         tables.rows);
    fill(axis_of(draw.left, draw.width, layout.width, resized(options.resize_width), options.crop_width),
         options.crop_width, most_taps(layout.width, options.resize_width, options.crop_width), draw.flip,
         tables.columns);
    return tables;
}

}  // namespace selfie
