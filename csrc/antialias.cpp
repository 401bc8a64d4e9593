// The tables of the triangle that resizing with antialiasing weighs its neighbours by.
#include "antialias.h"

#include <algorithm>
#include <cmath>

namespace selfie {

namespace {

// The most neighbours that any output of any draw has.
std::size_t most_taps(std::size_t side, std::int64_t resized, std::int64_t outputs) {
    const double step = static_cast<double>(side) / static_cast<double>(resized == 0 ? outputs : resized);
    const auto reach = static_cast<std::size_t>(std::ceil(std::max(step, 1.0)));
    return std::min(side, 2 * reach + 2);
}

void lay_out(const AugmentOptions& options, const RecordLayout& layout, FilterTables& tables,
             TableRoom& room) {
    const auto rows = static_cast<std::size_t>(options.crop_height);
    const std::size_t columns = tables.padded_columns = whole_vectors(options.crop_width);
    const std::size_t row_taps = most_taps(layout.height, options.resize_height, options.crop_height);
    const std::size_t column_taps = most_taps(layout.width, options.resize_width, options.crop_width);
    room.take(tables.rows.first, rows);
    room.take(tables.rows.weights, rows * row_taps);
    room.take(tables.columns.first, columns);
    room.take(tables.columns.weights, columns * column_taps);
    room.take(tables.gathers, columns / static_cast<std::size_t>(kLanes));
    room.take(tables.lane_weights, columns * column_taps);
    room.take(tables.lines, row_taps * columns);
    room.take(tables.held, row_taps);
    room.take(tables.sums, columns);
    room.take(tables.end, std::max(rows, columns));
    room.take(tables.parts, std::max(row_taps, column_taps));
}

// A triangle of one step to each side (of one sample where the image grows), as in Pillow.
void fill(const SourceAxis& axis, std::int64_t outputs, bool mirrored, FilterTables& tables,
          FilterAxis& table) {
    const double scale = std::max(axis.step, 1.0);
    const auto center_of = [&](std::int64_t i) {
        return axis.begin + (static_cast<double>(mirrored ? outputs - 1 - i : i) + 0.5) * axis.step;
    };
    table.taps = 0;
    for (std::int64_t i = 0; i < outputs; ++i) {
        const double center = center_of(i);
        const auto begin = std::max(axis.low, static_cast<std::int64_t>(std::floor(center - scale + 0.5)));
        const auto end = std::min(axis.high + 1, static_cast<std::int64_t>(std::floor(center + scale + 0.5)));
        table.first[i] = static_cast<std::int32_t>(begin);
        tables.end[i] = static_cast<std::int32_t>(end);
        table.taps = std::max(table.taps, end - begin);
    }
    for (std::int64_t i = 0; i < outputs; ++i) {
        const double center = center_of(i);
        const std::int64_t begin = table.first[i];
        const std::int64_t count = tables.end[i] - begin;
        double total = 0;
        for (std::int64_t k = 0; k < count; ++k) {
            const double distance = (static_cast<double>(begin + k) - center + 0.5) / scale;
            tables.parts[k] = std::max(0.0, 1.0 - std::abs(distance));
            total += tables.parts[k];
        }
        // Never beyond the samples that count: all taps are read, also those of weight 0.
        const std::int64_t first = std::min(begin, axis.high + 1 - table.taps);
        table.first[i] = static_cast<std::int32_t>(first);
        std::int16_t* weights = table.weights + i * table.taps;
        std::fill_n(weights, table.taps, std::int16_t{0});
        weights += begin - first;
        std::int32_t rest = kFilterOne;
        std::int64_t largest = 0;
        for (std::int64_t k = 0; k < count; ++k) {
            weights[k] = static_cast<std::int16_t>(tables.parts[k] / total * kFilterOne + 0.5);
            rest -= weights[k];
            if (weights[k] > weights[largest]) largest = k;
        }
        weights[largest] = static_cast<std::int16_t>(weights[largest] + rest);
    }
}

// The weights as the kernels load them. The outputs of the padding have none.
void fill_lanes(std::int64_t outputs, FilterTables& tables) {
    FilterAxis& columns = tables.columns;
    const auto padded = static_cast<std::int64_t>(tables.padded_columns);
    for (std::int64_t i = outputs; i < padded; ++i) columns.first[i] = columns.first[i - 1];
    std::fill_n(tables.lane_weights, padded * columns.taps, 0.0f);
    for (std::int64_t i = 0; i < outputs; ++i) {
        float* lanes = tables.lane_weights + i / kLanes * kLanes * columns.taps + i % kLanes;
        for (std::int64_t k = 0; k < columns.taps; ++k)
            lanes[k * kLanes] = static_cast<float>(columns.weights[i * columns.taps + k]);
    }
}

}  // namespace

std::size_t filter_scratch_bytes(const AugmentOptions& options, const RecordLayout& layout) {
    FilterTables tables;
    TableRoom room(nullptr);
    lay_out(options, layout, tables, room);
    return room.bytes();
}

FilterTables make_filter_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch) {
    FilterTables tables;
    TableRoom room(scratch);
    lay_out(options, layout, tables, room);
    fill(source_rows(options, layout, draw), options.crop_height, false, tables, tables.rows);
    fill(source_columns(options, layout, draw), options.crop_width, draw.flip, tables, tables.columns);
    const std::int64_t last_offset =
        static_cast<std::int64_t>(layout.width) - kLanes - (tables.columns.taps - 1);
    fill_lanes(options.crop_width, tables);
    tables.loads = make_gathers(tables.columns.first, tables.columns.first, tables.padded_columns,
                                last_offset, tables.gathers);
    return tables;
}

}  // namespace selfie
