#include "decode_steps.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "image_decoder.h"

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
    files.check_sizes();
}

std::shared_ptr<std::uint8_t> decode_images(const PixelPlan& plan, BufferPool& pool, std::uint64_t seed,
                                            std::uint64_t epoch, const std::int64_t* indices,
                                            std::size_t count, const std::uint8_t* pixels) {
    if (plan.images_bytes(count) > pool.buffer_bytes())
        throw std::invalid_argument("a batch must fit the pool's buffers, got " + std::to_string(count) +
                                    " records");
    ImageDecoder decoder(plan, &pool);
    std::shared_ptr<std::uint8_t> memory = pool.acquire();
    for (std::size_t i = 0; i < count; ++i)
        decoder.decode(pixels + i * plan.layout.pixel_bytes(),
                       {seed, epoch, static_cast<std::uint64_t>(indices[i])}, Prefetch(), i, count,
                       memory.get());
    decoder.finish();
    return memory;
}

void scales_and_shifts(const RecordFiles& files, const PixelPlan& plan, std::uint64_t seed,
                       std::uint64_t epoch, const std::int64_t* indices, std::size_t count, float* scale,
                       float* shift) {
    files.check_sizes();
    ImageDecoder decoder(plan, nullptr);
    std::vector<std::uint8_t> scratch(plan.layout.record_bytes());
    for (std::size_t i = 0; i < count; ++i) {
        files.check_index(indices[i]);
        const auto index = static_cast<std::uint64_t>(indices[i]);
        const std::uint8_t* record = files.record(index, scratch.data());
        decoder.scale_and_shift(record + kPixelOffset, {seed, epoch, index}, scale + i * plan.layout.channels,
                                shift + i * plan.layout.channels);
    }
    files.check_sizes();
}

}  // namespace selfie
