#include "resize.h"

#include <algorithm>

namespace selfie {

namespace {

void lay_out(const AugmentOptions& options, ResizeTables& tables, TableRoom& room) {
    tables.padded_columns = whole_vectors(options.crop_width);
    const auto axis = [&](AxisTable& table, std::size_t outputs) {
        room.take(table.first, outputs);
        room.take(table.second, outputs);
        room.take(table.weight, outputs);
    };
    axis(tables.rows, static_cast<std::size_t>(options.crop_height));
    axis(tables.columns, tables.padded_columns);
    room.take(tables.gathers, tables.padded_columns / static_cast<std::size_t>(kLanes));
    for (std::int16_t*& line : tables.lines) room.take(line, tables.padded_columns);
}

// Output i samples begin + (i + 1/2) step - 1/2, held within the samples that count.
void fill(const SourceAxis& axis, std::int64_t outputs, bool mirrored, AxisTable& table) {
    for (std::int64_t i = 0; i < outputs; ++i) {
        const std::int64_t place = mirrored ? outputs - 1 - i : i;
        const double wanted = axis.begin + (static_cast<double>(place) + 0.5) * axis.step - 0.5;
        const double held =
            std::min(std::max(wanted, static_cast<double>(axis.low)), static_cast<double>(axis.high));
        const auto first = static_cast<std::int64_t>(held);
        table.first[i] = static_cast<std::int32_t>(first);
        table.second[i] = static_cast<std::int32_t>(std::min(first + 1, axis.high));
        table.weight[i] = static_cast<std::int16_t>((held - static_cast<double>(first)) * 32768);
    }
}

}  // namespace

std::size_t resize_scratch_bytes(const AugmentOptions& options) {
    ResizeTables tables;
    TableRoom room(nullptr);
    lay_out(options, tables, room);
    return room.bytes();
}

ResizeTables make_resize_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch) {
    ResizeTables tables;
    TableRoom room(scratch);
    lay_out(options, tables, room);
    fill(source_rows(options, layout, draw), options.crop_height, false, tables.rows);
    AxisTable& columns = tables.columns;
    fill(source_columns(options, layout, draw), options.crop_width, draw.flip, columns);
    for (auto i = static_cast<std::size_t>(options.crop_width); i < tables.padded_columns; ++i) {
        columns.first[i] = columns.first[i - 1];
        columns.second[i] = columns.second[i - 1];
        columns.weight[i] = 0;
    }
    tables.loads = make_gathers(columns.first, columns.second, tables.padded_columns,
                                static_cast<std::int64_t>(layout.width) - kLanes, tables.gathers);
    return tables;
}

}  // namespace selfie
