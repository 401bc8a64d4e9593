// The fused pass over one picture: crop, flip, fmaf, convert, store. One copy per instruction set, picked
// once.
#pragma once

#include <cstdint>

#include "augment.h"
#include "prefetch.h"
#include "record.h"

namespace selfie {

enum class PixelType { kFloat32, kFloat16, kBfloat16, kUint8 };

inline std::size_t pixel_type_bytes(PixelType type) {
    return type == PixelType::kFloat32 ? 4 : type == PixelType::kUint8 ? 1 : 2;
}

// Everything that the pictures of a loader share.
struct PixelPlan {
    RecordLayout layout;
    AugmentOptions augment;
    NormalizeOptions normalize;
    PixelType type = PixelType::kFloat32;
    bool channels_last = false;

    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    [[gnu::always_inline]] std::size_t crop_pixels() const {
        return static_cast<std::size_t>(augment.crop_height * augment.crop_width);
    }
    [[gnu::always_inline]] std::size_t picture_values() const { return layout.channels * crop_pixels(); }
    std::size_t picture_bytes() const { return picture_values() * pixel_type_bytes(type); }
    // Two windows, planar and interleaved, and room to read the last 16 bytes of less.
    std::size_t scratch_bytes() const { return 2 * picture_values() + 16; }
    // Whether rows are whole pieces of 16 pixels, as streaming stores need.
    bool can_stream() const { return augment.crop_width % 16 == 0; }
};

struct PixelKernel {
    const char* isa;
    // pixels: uint8[C][H][W]; scratch: scratch_bytes(); out: picture_bytes() in the plan's type and order.
    // stream: past the caches, if can_stream() and out is aligned to 64 bytes; settle() before others read
    // it. coming: what is asked for meanwhile.
    void (*decode)(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw, std::uint8_t* scratch,
                   bool stream, Prefetch coming, void* out);
    // The scale and shift, float32[C] each, that decode() would use.
    void (*picture_map)(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                        std::uint8_t* scratch, float* scale, float* shift);
    // Makes streamed pixels visible before anything that follows.
    void (*settle)();
};

// The widest instruction set that the processor has; SELFIE_IO_ISA=generic|avx2|avx512|neon overrides.
// Throws std::invalid_argument if the named one is unknown or not present.
const PixelKernel& pixel_kernel();

}  // namespace selfie
