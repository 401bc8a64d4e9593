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

    // Decodes all views of record `place` in a batch of `count`.
    // pixels: uint8[C][H][W]; coming: bytes to prefetch meanwhile; images: images_bytes(count) in a buffer of
    // the pool.
    void decode(const std::uint8_t* pixels, DrawKey key, const Prefetch& coming, std::size_t place,
                std::size_t count, std::uint8_t* images) {
        for (key.view = 0; key.view < plan_.views; ++key.view) {
            const Draw draw = draw_augmentation(plan_.augment, plan_.layout, key);
            kernel_.decode(plan_, pixels, draw, scratch_.data(), stream_, coming.part(key.view, plan_.views),
                           images + (key.view * count + place) * plan_.image_bytes());
        }
    }

    // The scale and shift, float32[C] each, that decode() would use.
    void scale_and_shift(const std::uint8_t* pixels, const DrawKey& key, float* scale, float* shift) {
        const Draw draw = draw_augmentation(plan_.augment, plan_.layout, key);
        kernel_.scale_and_shift(plan_, pixels, draw, scratch_.data(), scale, shift);
    }

    // Call after a batch, before another thread reads it.
    void finish() const {
        if (stream_) kernel_.flush_stream();
    }

  private:
    const PixelPlan& plan_;
    const PixelKernel& kernel_ = pixel_kernel();
    const bool stream_;
    std::vector<std::uint8_t> scratch_;
};

}  // namespace selfie
