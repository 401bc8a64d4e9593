#include "decode_steps.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace selfie {

void gather_records(const RecordFiles& files, const std::int64_t* indices, std::size_t count,
                    std::uint8_t* pixels, std::int64_t* labels, std::int64_t* record_ids) {
    files.check_sizes();
    for (std::size_t i = 0; i < count; ++i) files.check_index(indices[i]);
    const std::size_t pixel_bytes = files.layout().pixel_bytes();
    std::vector<std::uint8_t> scratch(files.layout().record_bytes());
    for (std::size_t i = 0; i < count; ++i) {
        if (i + RecordFiles::kAhead < count)
            files.prefetch(static_cast<std::uint64_t>(indices[i + RecordFiles::kAhead])).finish();
        const auto index = static_cast<std::uint64_t>(indices[i]);
        const std::uint8_t* record = files.record(index, scratch.data());
        labels[i] = files.label(index, record);
        record_ids[i] = load_big_endian(record + kRecordIdOffset);
        std::memcpy(pixels + i * pixel_bytes, record + kPixelOffset, pixel_bytes);
    }
}

std::shared_ptr<std::uint8_t> decode_pictures(const PixelPlan& plan, BufferPool& pool, std::uint64_t seed,
                                              std::uint64_t epoch, const std::int64_t* indices,
                                              std::size_t count, const std::uint8_t* pixels) {
    if (count * plan.picture_bytes() > pool.buffer_bytes())
        throw std::invalid_argument("a batch must fit the pool's buffers, got " + std::to_string(count) +
                                    " records");
    const PixelKernel& kernel = pixel_kernel();
    const bool streams = plan.can_stream() && pool.exceeds_caches();
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    std::shared_ptr<std::uint8_t> memory = pool.acquire();
    for (std::size_t i = 0; i < count; ++i) {
        const auto index = static_cast<std::uint64_t>(indices[i]);
        const Draw draw = draw_augmentation(plan.augment, plan.layout, seed, epoch, index);
        kernel.decode(plan, pixels + i * plan.layout.pixel_bytes(), draw, scratch.data(), streams, Prefetch(),
                      memory.get() + i * plan.picture_bytes());
    }
    if (streams) kernel.settle();
    return memory;
}

}  // namespace selfie
