// Where each pixel of a resized image comes from: two neighbours and a weight along each axis, as tables for
// the pixel kernels. docs/determinism.md tells the arithmetic.
#pragma once

#include "resize_axis.h"

namespace selfie {

// One axis: output i lies at first[i] + weight[i] / 2^15, between first[i] and second[i].
struct AxisTable {
    std::int32_t* first = nullptr;
    std::int32_t* second = nullptr;
    std::int16_t* weight = nullptr;
};

struct ResizeTables {
    AxisTable rows;
    AxisTable columns;              // mirrored if the draw flips; padded to whole vectors
    LaneGather* gathers = nullptr;  // one per vector of columns
    std::size_t loads = 0;          // of each gather; 0: there are none
    std::int16_t* lines[2] = {};    // room for two rows of output columns
    std::size_t padded_columns = 0;
};

// The bytes that make_resize_tables() needs.
std::size_t resize_scratch_bytes(const AugmentOptions& options);

// The tables of one draw, in scratch.
ResizeTables make_resize_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch);

}  // namespace selfie
