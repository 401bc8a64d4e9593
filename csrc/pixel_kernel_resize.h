// Resizing for the pixel kernels: two-tap interpolation along the columns, then along the rows, in 16 bits.
// Included by pixel_kernel_body.h, which explains the words and the unnamed namespace.
#pragma once

#include "pixel_kernel.h"
#include "resize.h"

namespace selfie {
namespace {

// One row of output columns, as bytes times 128.
void resize_line(const std::uint8_t* row, const ResizeTables& tables, std::int16_t* out) {
    if (tables.loads == 0) {
        for (std::size_t i = 0; i < tables.padded_columns; ++i) {
            const std::int32_t a = row[tables.columns.first[i]] * 128;
            const std::int32_t b = row[tables.columns.second[i]] * 128;
            out[i] = static_cast<std::int16_t>(a + (((b - a) * tables.columns.weight[i] + 0x4000) >> 15));
        }
        return;
    }
    for (std::size_t i = 0; i < tables.padded_columns; i += kLanes) {
        const LaneGather& gather = tables.gathers[i / kLanes];
        ByteVector bytes = load(row + gather.offset[0]);
        ByteVector first = table_lookup(bytes, load(gather.first[0]));
        ByteVector second = table_lookup(bytes, load(gather.second[0]));
        for (std::size_t k = 1; k < tables.loads; ++k) {
            bytes = load(row + gather.offset[k]);
            first = bit_or(first, table_lookup(bytes, load(gather.first[k])));
            second = bit_or(second, table_lookup(bytes, load(gather.second[k])));
        }
        store(lerp(widen(first), widen(second), load(tables.columns.weight + i)), out + i);
    }
}

// The resized, flipped window of every plane: uint8[C][crop_height][crop_width]. Its last vector may reach
// kLanes - 1 bytes beyond.
void resize_window(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                   std::uint8_t* window) {
    const ResizeTables tables =
        make_resize_tables(plan.augment, plan.layout, draw, scratch + plan.window_bytes());
    for (std::size_t c = 0; c < plan.layout.channels; ++c) {
        const std::uint8_t* plane = pixels + c * plan.layout.plane_bytes();
        std::int64_t held[2] = {-1, -1};  // the rows that the two lines hold
        // The line of a row; the other line keeps `other`.
        const auto line = [&](std::int64_t row, std::int64_t other) {
            const int slot = held[0] == row ? 0 : held[1] == row ? 1 : held[0] == other ? 1 : 0;
            if (held[slot] != row) {
                resize_line(plane + row * static_cast<std::int64_t>(plan.layout.width), tables,
                            tables.lines[slot]);
                held[slot] = row;
            }
            return tables.lines[slot];
        };
        for (std::int64_t y = 0; y < plan.augment.crop_height; ++y) {
            const std::int64_t first = tables.rows.first[y];
            const std::int64_t second = tables.rows.second[y];
            const std::int16_t* above = line(first, second);
            const std::int16_t* below = line(second, first);
            const ShortVector weight = broadcast(tables.rows.weight[y]);
            for (std::size_t i = 0; i < tables.padded_columns; i += kLanes)
                store(narrow(lerp(load(above + i), load(below + i), weight)), window + i);
            window += plan.augment.crop_width;
        }
    }
}

// One row of output columns with antialiasing, as bytes times 128.
void filter_line(const std::uint8_t* row, const FilterTables& tables, std::int16_t* out) {
    const std::int64_t taps = tables.columns.taps;
    if (tables.loads == 0) {
        for (std::size_t i = 0; i < tables.padded_columns; ++i) {
            const std::uint8_t* sample = row + tables.columns.first[i];
            const std::int16_t* weights = tables.columns.weights + static_cast<std::int64_t>(i) * taps;
            std::int32_t sum = 64;
            for (std::int64_t k = 0; k < taps; ++k) sum += weights[k] * sample[k];
            out[i] = static_cast<std::int16_t>(sum >> 7);
        }
        return;
    }
    const float* weights = tables.lane_weights;
    for (std::size_t i = 0; i < tables.padded_columns; i += kLanes) {
        const LaneGather& gather = tables.gathers[i / kLanes];
        FloatVector sum = broadcast(64.0f);
        for (std::int64_t k = 0; k < taps; ++k, weights += kLanes) {
            ByteVector bytes = table_lookup(load(row + gather.offset[0] + k), load(gather.first[0]));
            for (std::size_t n = 1; n < tables.loads; ++n)
                bytes = bit_or(bytes, table_lookup(load(row + gather.offset[n] + k), load(gather.first[n])));
            sum = add_product(bytes, load(weights), sum);
        }
        store(from_128ths(sum), out + i);
    }
}

// The resized window with antialiasing. The compiler makes vectors of the sums along the rows.
void filter_window(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                   std::uint8_t* window) {
    const FilterTables tables =
        make_filter_tables(plan.augment, plan.layout, draw, scratch + plan.window_bytes());
    const std::int64_t columns = plan.augment.crop_width;
    for (std::size_t c = 0; c < plan.layout.channels; ++c) {
        const std::uint8_t* plane = pixels + c * plan.layout.plane_bytes();
        for (std::int64_t slot = 0; slot < tables.rows.taps; ++slot) tables.held[slot] = -1;
        const auto line = [&](std::int64_t row) {
            const std::int64_t slot = row % tables.rows.taps;
            std::int16_t* out = tables.lines + static_cast<std::size_t>(slot) * tables.padded_columns;
            if (tables.held[slot] != row)
                filter_line(plane + row * static_cast<std::int64_t>(plan.layout.width), tables, out);
            tables.held[slot] = row;
            return out;
        };
        for (std::int64_t y = 0; y < plan.augment.crop_height; ++y) {
            for (std::int64_t i = 0; i < columns; ++i) tables.sums[i] = 1 << 20;
            for (std::int64_t k = 0; k < tables.rows.taps; ++k) {
                const std::int32_t weight = tables.rows.weights[y * tables.rows.taps + k];
                if (weight == 0) continue;
                const std::int16_t* values = line(tables.rows.first[y] + k);
                for (std::int64_t i = 0; i < columns; ++i) tables.sums[i] += weight * values[i];
            }
            for (std::int64_t i = 0; i < columns; ++i)
                window[i] = static_cast<std::uint8_t>(tables.sums[i] >> 21);
            window += columns;
        }
    }
}

}  // namespace
}  // namespace selfie
