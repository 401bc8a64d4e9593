// The decoder's work in separate steps, for backends that do a part of it elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "buffer_pool.h"
#include "pixel_kernel.h"
#include "record_file.h"

namespace selfie {

// The pixels, labels and ids of some records, one after the other. Throws std::out_of_range for an index
// outside the files, and as RecordFiles::record() and label() do.
void gather_records(const RecordFiles& files, const std::int64_t* indices, std::size_t count,
                    std::uint8_t* pixels, std::int64_t* labels, std::int64_t* record_ids);

// Decodes images of the plan's layout, one after the other, into a buffer of the pool. Throws
// std::invalid_argument if they do not fit it.
std::shared_ptr<std::uint8_t> decode_images(const PixelPlan& plan, BufferPool& pool, std::uint64_t seed,
                                            std::uint64_t epoch, const std::int64_t* indices,
                                            std::size_t count, const std::uint8_t* pixels);

// The scale and shift that the decoder would use for each record: float32[count][channels] each. Throws
// std::out_of_range for an index outside the files.
void scales_and_shifts(const RecordFiles& files, const PixelPlan& plan, std::uint64_t seed,
                       std::uint64_t epoch, const std::int64_t* indices, std::size_t count, float* scale,
                       float* shift);

}  // namespace selfie
