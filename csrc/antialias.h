// Resizing with antialiasing: the neighbours of each output along one axis and their weights, as tables for
// the pixel kernels. docs/determinism.md tells the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "augment.h"
#include "record.h"

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
    FilterAxis columns;             // mirrored if the draw flips
    std::int16_t* lines = nullptr;  // room for rows.taps rows of output columns, each of `line` values
    std::int64_t* held = nullptr;   // the row that each of them holds
    std::int32_t* sums = nullptr;   // room for one row of output columns
    std::size_t line = 0;
};

// The bytes that make_filter_tables() needs.
std::size_t filter_scratch_bytes(const AugmentOptions& options, const RecordLayout& layout);

// The tables of one draw, in scratch.
FilterTables make_filter_tables(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw,
                                std::uint8_t* scratch);

}  // namespace selfie
