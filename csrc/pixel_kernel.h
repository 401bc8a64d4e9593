// The fused pass over one image: crop, flip, fmaf, convert, store. One kernel per instruction set; the
// processor picks one.
#pragma once

#include <cstdint>

#include "antialias.h"
#include "augment.h"
#include "lanes.h"
#include "prefetch.h"
#include "record.h"
#include "resize.h"

namespace selfie {

enum class PixelType { kFloat32, kFloat16, kBfloat16, kUint8 };

inline std::size_t pixel_type_bytes(PixelType type) {
    return type == PixelType::kFloat32 ? 4 : type == PixelType::kUint8 ? 1 : 2;
}

constexpr std::uint32_t kMaxViews = 256;  // of a record

// What all images of a loader have in common.
struct PixelPlan {
    RecordLayout layout;
    AugmentOptions augment;
    NormalizeOptions normalize;
    PixelType type = PixelType::kFloat32;
    bool channels_last = false;
    std::uint32_t views = 1;  // images made of each record, each with draws of its own

    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    [[gnu::always_inline]] std::size_t crop_pixels() const {
        return static_cast<std::size_t>(augment.crop_height * augment.crop_width);
    }
    [[gnu::always_inline]] std::size_t image_values() const { return layout.channels * crop_pixels(); }
    std::size_t image_bytes() const { return image_values() * pixel_type_bytes(type); }
    // All views of `count` records; images of one view follow each other.
    std::size_t images_bytes(std::size_t count) const { return views * count * image_bytes(); }
    // Two windows, planar and interleaved, and room to load a whole vector at their end.
    [[gnu::always_inline]] std::size_t window_bytes() const { return 2 * image_values() + kLanes; }
    // The windows, then the tables of a resize.
    std::size_t scratch_bytes() const {
        if (!augment.resizes()) return window_bytes();
        return window_bytes() +
               (augment.antialias ? filter_scratch_bytes(augment, layout) : resize_scratch_bytes(augment));
    }
    // Whether rows are whole vectors, as streaming stores need.
    bool can_stream() const { return augment.crop_width % kLanes == 0; }
};

struct PixelKernel {
    const char* isa;
    // pixels: uint8[C][H][W]; scratch: scratch_bytes(); out: image_bytes() in the plan's type and order.
    // stream: store past the caches. It needs can_stream(), out aligned to 64 bytes, and flush_stream()
    // before another thread reads out. coming: bytes to prefetch during the work.
    void (*decode)(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                   bool stream, Prefetch coming, void* out);
    // The scale and shift, float32[C] each, that decode() would use.
    void (*scale_and_shift)(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                            std::uint8_t* scratch, float* scale, float* shift);
    // Makes streamed pixels visible to other threads.
    void (*flush_stream)();
};

// The widest instruction set that the processor has; SELFIE_IO_ISA=generic|avx2|avx512|neon overrides.
// Throws std::invalid_argument if the named one is unknown or not present.
const PixelKernel& pixel_kernel();

}  // namespace selfie
