#include "resize.h"

#include <algorithm>
#include <cmath>

namespace selfie {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::uint8_t kZeroLane = 0x80;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t whole_vectors(std::int64_t columns) {
    const auto lanes = static_cast<std::size_t>(kLanes);
    return (static_cast<std::size_t>(columns) + lanes - 1) / lanes * lanes;
}

// Output i of `outputs` samples begin + (i + 1/2) step - 1/2, held within low..high.
struct Axis {
    double begin;
    double step;
    std::int64_t low;
    std::int64_t high;
};

void fill(const Axis& axis, std::int64_t outputs, std::size_t padded, bool mirrored, AxisTable& table) {
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
    for (auto i = static_cast<std::size_t>(outputs); i < padded; ++i) {
        table.first[i] = table.first[outputs - 1];
        table.second[i] = table.second[outputs - 1];
        table.weight[i] = 0;
    }
}

// Whether `loads` loads of kLanes bytes reach all neighbours of every vector; fills the gathers.
bool gather(const AxisTable& columns, std::size_t padded, std::size_t width, std::size_t loads,
            LaneGather* gathers) {
    const auto lanes = static_cast<std::size_t>(kLanes);
    const std::size_t part = lanes / loads;
    for (std::size_t begin = 0; begin < padded; begin += lanes) {
        LaneGather& out = gathers[begin / lanes];
        for (std::size_t k = 0; k < loads; ++k) {
            const std::int32_t* first = columns.first + begin + k * part;
            const std::int32_t* second = columns.second + begin + k * part;
            const std::int32_t low = *std::min_element(first, first + part);
            const std::int32_t high = *std::max_element(second, second + part);
            const std::int32_t offset = std::min(low, static_cast<std::int32_t>(width - lanes));
            if (high - offset >= kLanes) return false;
            out.offset[k] = offset;
            for (std::size_t i = 0; i < lanes; ++i) out.first[k][i] = out.second[k][i] = kZeroLane;
            for (std::size_t i = 0; i < part; ++i) {
                out.first[k][k * part + i] = static_cast<std::uint8_t>(first[i] - offset);
                out.second[k][k * part + i] = static_cast<std::uint8_t>(second[i] - offset);
            }
        }
    }
    return true;
}

}  // namespace

std::size_t resize_scratch_bytes(const AugmentOptions& options) {
    const std::size_t columns = whole_vectors(options.crop_width);
    const auto rows = static_cast<std::size_t>(options.crop_height);
    const auto axis = [](std::size_t n) {
        return 2 * aligned(n * sizeof(std::int32_t)) + aligned(n * sizeof(std::int16_t));
    };
    return kAlignment + axis(rows) + axis(columns) +
           aligned(columns / static_cast<std::size_t>(kLanes) * sizeof(LaneGather)) +
           2 * aligned(columns * sizeof(std::int16_t));
}

ResizeTables make_resize_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch) {
    std::uint8_t* room =
        scratch + (kAlignment - reinterpret_cast<std::uintptr_t>(scratch) % kAlignment) % kAlignment;
    const auto take = [&](std::size_t bytes) {
        std::uint8_t* begin = room;
        room += aligned(bytes);
        return begin;
    };
    const auto axis = [&](std::size_t n) {
        AxisTable table;
        table.first = reinterpret_cast<std::int32_t*>(take(n * sizeof(std::int32_t)));
        table.second = reinterpret_cast<std::int32_t*>(take(n * sizeof(std::int32_t)));
        table.weight = reinterpret_cast<std::int16_t*>(take(n * sizeof(std::int16_t)));
        return table;
    };
    ResizeTables tables;
    tables.padded_columns = whole_vectors(options.crop_width);
    tables.rows = axis(static_cast<std::size_t>(options.crop_height));
    tables.columns = axis(tables.padded_columns);
    tables.gathers = reinterpret_cast<LaneGather*>(
        take(tables.padded_columns / static_cast<std::size_t>(kLanes) * sizeof(LaneGather)));
    for (std::int16_t*& line : tables.lines)
        line = reinterpret_cast<std::int16_t*>(take(tables.padded_columns * sizeof(std::int16_t)));

    const auto source = [&](std::int32_t place, std::int32_t side, std::size_t whole, std::int64_t resized,
                            std::int64_t outputs) {
        if (resized == 0)  // the window, stretched
            return Axis{static_cast<double>(place), static_cast<double>(side) / static_cast<double>(outputs),
                        place, std::int64_t{place} + side - 1};
        const double step = static_cast<double>(whole) / static_cast<double>(resized);
        return Axis{static_cast<double>(place) * step, step, 0, static_cast<std::int64_t>(whole) - 1};
    };
    const bool stretches = options.resize_crop;
    fill(source(draw.top, draw.height, layout.height, stretches ? 0 : options.resize_height,
                options.crop_height),
         options.crop_height, static_cast<std::size_t>(options.crop_height), false, tables.rows);
    fill(
        source(draw.left, draw.width, layout.width, stretches ? 0 : options.resize_width, options.crop_width),
        options.crop_width, tables.padded_columns, draw.flip, tables.columns);
    if (layout.width >= static_cast<std::size_t>(kLanes))
        for (const std::size_t loads : {std::size_t{1}, std::size_t{2}, kMostLoads})
            if (gather(tables.columns, tables.padded_columns, layout.width, loads, tables.gathers)) {
                tables.loads = loads;
                break;
            }
    return tables;
}

}  // namespace selfie
