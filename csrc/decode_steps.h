// The decoder's work in two steps, for backends that have a hand in between: what the files hold, gathered;
// pictures in memory, decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "buffer_pool.h"
#include "pixel_kernel.h"
#include "record_file.h"

namespace selfie {

// The pixels, labels and ids of the records named, one after the other. Throws std::out_of_range for an index
// outside the files, and as RecordFiles::record() and label() do.
void gather_records(const RecordFiles& files, const std::int64_t* indices, std::size_t count,
                    std::uint8_t* pixels, std::int64_t* labels, std::int64_t* record_ids);

// What the plan makes of pictures of its layout, one after the other in a buffer of the pool. Throws
// std::invalid_argument if they do not fit it.
std::shared_ptr<std::uint8_t> decode_pictures(const PixelPlan& plan, BufferPool& pool, std::uint64_t seed,
                                              std::uint64_t epoch, const std::int64_t* indices,
                                              std::size_t count, const std::uint8_t* pixels);

}  // namespace selfie
