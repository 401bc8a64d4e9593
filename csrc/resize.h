// Where each pixel of a resized image comes from: two neighbours and a weight along each axis, as tables for
// the pixel kernels. docs/determinism.md tells the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "augment.h"
#include "record.h"

namespace selfie {

// One axis: output i lies at first[i] + weight[i] / 2^15, between first[i] and second[i].
struct AxisTable {
    std::int32_t* first = nullptr;
    std::int32_t* second = nullptr;
    std::int16_t* weight = nullptr;
};

// For a vector of kLanes outputs: loads of kLanes bytes each, and the lanes of both neighbours in each load.
constexpr std::size_t kMostLoads = 4;
struct LaneGather {
    std::int32_t offset[kMostLoads];
    std::uint8_t first[kMostLoads][kLanes];
    std::uint8_t second[kMostLoads][kLanes];
};

struct ResizeTables {
    AxisTable rows;
    AxisTable columns;              // mirrored if the draw flips; padded to whole vectors
    LaneGather* gathers = nullptr;  // one per vector of columns
    std::size_t loads = 0;          // of each gather; 0: the columns lie too far apart for vectors
    std::int16_t* lines[2] = {};    // room for two rows of output columns
    std::size_t padded_columns = 0;
};

// The bytes that make_resize_tables() needs, aligned to 64.
std::size_t resize_scratch_bytes(const AugmentOptions& options);

// The tables of one draw, in scratch.
ResizeTables make_resize_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch);

}  // namespace selfie
