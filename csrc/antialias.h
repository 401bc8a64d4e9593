// Resizing with antialiasing: the neighbours of each output along one axis and their weights, as tables for
// the pixel kernels. docs/determinism.md tells the arithmetic.
#pragma once

#include "resize_axis.h"

namespace selfie {

constexpr std::int32_t kFilterOne = 1 << 14;  // the weights of an output add up to this

// One axis: output i is the sum of weights[i * taps + k] times sample first[i] + k, for k below taps.
struct FilterAxis {
    std::int32_t* first = nullptr;
    std::int16_t* weights = nullptr;  // 0 where an output has fewer neighbours
    std::int64_t taps = 0;
};

struct FilterTables {
    FilterAxis rows;
    FilterAxis columns;             // mirrored if the draw flips; padded to whole vectors
    LaneGather* gathers = nullptr;  // one per vector of columns: the samples first[i]
    std::size_t loads = 0;          // of each gather; 0: there are none
    float* lane_weights = nullptr;  // of the columns: [vector][tap][lane]
    std::size_t padded_columns = 0;
    std::int16_t* lines = nullptr;  // room for rows.taps rows of padded_columns
    std::int64_t* held = nullptr;   // the row that each of them holds
    std::int32_t* sums = nullptr;   // room for one row of padded_columns
    std::int32_t* end = nullptr;    // room for the samples after each output's last
    double* parts = nullptr;        // room for the weights of one output
};

// The bytes that make_filter_tables() needs.
std::size_t filter_scratch_bytes(const AugmentOptions& options, const RecordLayout& layout);

// The tables of one draw, in scratch.
FilterTables make_filter_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch);

}  // namespace selfie
