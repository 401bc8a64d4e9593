// What both ways of resizing share: where outputs lie in the image, which bytes a vector of outputs loads,
// and room for tables.
#pragma once

#include <cstddef>
#include <cstdint>

#include "augment.h"
#include "lanes.h"
#include "record.h"

namespace selfie {

// Along one axis output i covers begin + i step .. begin + (i + 1) step; samples low..high count.
struct SourceAxis {
    double begin;
    double step;
    std::int64_t low;
    std::int64_t high;
};
SourceAxis source_rows(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw);
SourceAxis source_columns(const AugmentOptions& options, const RecordLayout& layout, const Draw& draw);

// For a vector of kLanes outputs: loads of kLanes bytes each, and the lanes of two samples in each load.
constexpr std::size_t kMostLoads = 4;
struct LaneGather {
    std::int32_t offset[kMostLoads];
    std::uint8_t first[kMostLoads][kLanes];
    std::uint8_t second[kMostLoads][kLanes];
};

// Fills a gather for each vector of outputs, whose samples first[i] <= second[i] ascend or descend. Loads
// begin at 0..last_offset. Returns the loads of each gather: 1, 2 or 4; 0: the outputs lie too far apart.
std::size_t make_gathers(const std::int32_t* first, const std::int32_t* second, std::size_t outputs,
                         std::int64_t last_offset, LaneGather* gathers);

// The least multiple of kLanes that holds so many columns.
std::size_t whole_vectors(std::int64_t columns);

// Hands out parts of one memory, aligned to cache lines; without memory it counts their bytes.
class TableRoom {
  public:
    explicit TableRoom(std::uint8_t* memory)
        : begin_(memory == nullptr
                     ? nullptr
                     : memory + (kAlignment - reinterpret_cast<std::uintptr_t>(memory) % kAlignment) %
                                    kAlignment) {}

    template <class Value>
    void take(Value*& table, std::size_t values) {
        table = begin_ == nullptr ? nullptr : reinterpret_cast<Value*>(begin_ + used_);
        used_ += (values * sizeof(Value) + kAlignment - 1) / kAlignment * kAlignment;
    }
    // The memory to give, wherever it begins.
    std::size_t bytes() const { return used_ + kAlignment; }

  private:
    static constexpr std::size_t kAlignment = 64;

    std::uint8_t* const begin_;
    std::size_t used_ = 0;
};

}  // namespace selfie
