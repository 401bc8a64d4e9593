// The vectors of the pixel kernels and of the tables made for them. See pixel_kernel_body.h for the words.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selfie {

constexpr std::ptrdiff_t kLanes = 16;  // pixels of one vector, on every instruction set

// For table_lookup(): the lane that each byte comes from. kZeroLane gives 0.
constexpr std::uint8_t kZeroLane = 0x80;

}  // namespace selfie
