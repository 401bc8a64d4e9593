// Where outputs lie in the image, and the loads that gather the samples of a vector of them.
#include "resize_axis.h"

#include <algorithm>

namespace selfie {

namespace {

// resized: the side of the resized image that holds the outputs; 0: they fill the window alone.
SourceAxis source_axis(std::int32_t place, std::int32_t length, std::size_t side, std::int64_t resized,
                       std::int64_t outputs) {
    if (resized == 0)
        return {static_cast<double>(place), static_cast<double>(length) / static_cast<double>(outputs), place,
                std::int64_t{place} + length - 1};
    const double step = static_cast<double>(side) / static_cast<double>(resized);
    return {static_cast<double>(place) * step, step, 0, static_cast<std::int64_t>(side) - 1};
}

// Whether so many loads reach both samples of every output.
bool fill_gathers(const std::int32_t* first, const std::int32_t* second, std::size_t outputs,
                  std::int64_t last_offset, std::size_t loads, LaneGather* gathers) {
    const auto lanes = static_cast<std::size_t>(kLanes);
    const std::size_t part = lanes / loads;
    for (std::size_t begin = 0; begin < outputs; begin += lanes) {
        LaneGather& out = gathers[begin / lanes];
        for (std::size_t k = 0; k < loads; ++k) {
            const std::int32_t* a = first + begin + k * part;
            const std::int32_t* b = second + begin + k * part;
            const std::int32_t low = std::min(a[0], a[part - 1]);
            const std::int32_t high = std::max(b[0], b[part - 1]);
            const std::int32_t offset = std::min(low, static_cast<std::int32_t>(last_offset));
            if (high - offset >= kLanes) return false;
            out.offset[k] = offset;
            std::fill_n(out.first[k], lanes, kZeroLane);
            std::fill_n(out.second[k], lanes, kZeroLane);
            for (std::size_t i = 0; i < part; ++i) {
                out.first[k][k * part + i] = static_cast<std::uint8_t>(a[i] - offset);
                out.second[k][k * part + i] = static_cast<std::uint8_t>(b[i] - offset);
            }
        }
    }
    return true;
}

}  // namespace

SourceAxis source_rows(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw) {
    return source_axis(draw.top, draw.height, layout.height, options.resize_height, options.crop_height);
}

SourceAxis source_columns(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw) {
    return source_axis(draw.left, draw.width, layout.width, options.resize_width, options.crop_width);
}

std::size_t make_gathers(const std::int32_t* first, const std::int32_t* second, std::size_t outputs,
                         std::int64_t last_offset, LaneGather* gathers) {
    if (last_offset < 0) return 0;
    for (std::size_t loads = 1; loads <= kMostLoads; loads *= 2)
        if (fill_gathers(first, second, outputs, last_offset, loads, gathers)) return loads;
    return 0;
}

std::size_t whole_vectors(std::int64_t columns) {
    const auto lanes = static_cast<std::size_t>(kLanes);
    return (static_cast<std::size_t>(columns) + lanes - 1) / lanes * lanes;
}

}  // namespace selfie
