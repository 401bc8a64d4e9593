// One thread's work on one image after the other: draw the augmentation, run the pixel kernel, stream the
// result past the caches where that pays.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer_pool.h"
#include "pixel_kernel.h"

namespace selfie {

class ImageDecoder {
  public:
    // Results go to buffers of the pool, or anywhere if there is none (then decode() must not be called).
    // The plan must outlive the decoder.
    ImageDecoder(const PixelPlan& plan, const BufferPool* pool)
        : plan_(plan),
          stream_(pool != nullptr && plan.can_stream() && pool->exceeds_caches()),
          scratch_(plan.scratch_bytes()) {}

    // pixels: uint8[C][H][W]; out: image_bytes() in a buffer of the pool; coming: bytes to prefetch
    // meanwhile.
    void decode(const std::uint8_t* pixels, std::uint64_t seed, std::uint64_t epoch, std::uint64_t index,
                Prefetch coming, void* out) {
        kernel_.decode(plan_, pixels, draw(seed, epoch, index), scratch_.data(), stream_, coming, out);
    }

    // The scale and shift, float32[C] each, that decode() would use.
    void scale_and_shift(const std::uint8_t* pixels, std::uint64_t seed, std::uint64_t epoch,
                         std::uint64_t index, float* scale, float* shift) {
        kernel_.scale_and_shift(plan_, pixels, draw(seed, epoch, index), scratch_.data(), scale, shift);
    }

    // Call after a batch, before another thread reads it.
    void finish() const {
        if (stream_) kernel_.flush_stream();
    }

  private:
    Draw draw(std::uint64_t seed, std::uint64_t epoch, std::uint64_t index) const {
        return draw_augmentation(plan_.augment, plan_.layout, seed, epoch, index);
    }

    const PixelPlan& plan_;
    const PixelKernel& kernel_ = pixel_kernel();
    const bool stream_;
    std::vector<std::uint8_t> scratch_;
};

}  // namespace selfie
