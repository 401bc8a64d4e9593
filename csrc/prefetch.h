// Prefetches bytes a cache line at a time, spread over other work: all at once they would fill the
// processor's queue of outstanding reads, and that work would wait.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selfie {

class Prefetch {
  public:
    Prefetch() = default;  // of nothing
    Prefetch(const std::uint8_t* begin, std::size_t bytes) : next_(begin), end_(begin + bytes) {}

    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    // Call after processing `bytes` bytes; prefetches as many.
    [[gnu::always_inline]] void advance(std::size_t bytes) {
        due_ += bytes;
        for (; due_ >= kLine && next_ < end_; due_ -= kLine) prefetch_line();
    }
    // Prefetches the rest.
    [[gnu::always_inline]] void finish() {
        while (next_ < end_) prefetch_line();
    }

  private:
    static constexpr std::size_t kLine = 64;

    [[gnu::always_inline]] void prefetch_line() {
        constexpr int kRead = 0;
        constexpr int kSecondLevel = 2;  // the first level is too small for several records
        __builtin_prefetch(next_, kRead, kSecondLevel);
        next_ += kLine;
    }

    const std::uint8_t* next_ = nullptr;
    const std::uint8_t* end_ = nullptr;
    std::size_t due_ = 0;
};

}  // namespace selfie
