// The byte layout of one record: offsets, sizes, byte order, and nothing else (docs/format.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace selfie {

constexpr std::size_t kRecordIdOffset = 0;  // uint32, big-endian
constexpr std::size_t kLabelOffset = 4;     // uint32, big-endian
constexpr std::size_t kPixelOffset = 8;     // uint8[channels][height][width]

// Label histories store a class in at most 16 bits. A larger label means a damaged file.
constexpr std::uint32_t kMaxClasses = 65536;

// make_layout() checks the sides: every product below fits, and sums of squares over a plane fit 64 bits.
constexpr std::int64_t kMaxChannels = 64;
constexpr std::int64_t kMaxPlanePixels = std::int64_t{1} << 22;

struct RecordLayout {
    std::size_t channels = 0;
    std::size_t height = 0;
    std::size_t width = 0;

    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    [[gnu::always_inline]] std::size_t plane_bytes() const { return height * width; }
    [[gnu::always_inline]] std::size_t pixel_bytes() const { return channels * plane_bytes(); }
    std::size_t record_bytes() const { return kPixelOffset + pixel_bytes(); }
};

inline std::uint32_t load_big_endian(const std::uint8_t* bytes) {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
           std::uint32_t{bytes[3]};
}

}  // namespace selfie
