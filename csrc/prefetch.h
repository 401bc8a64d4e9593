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

    // One of `parts` parts of as many bytes, to within a cache line.
    Prefetch part(std::size_t number, std::size_t parts) const {
        const std::size_t lines = (bytes() + kLine - 1) / kLine;
        const std::uint8_t* begin = next_ + lines * number / parts * kLine;
        const std::uint8_t* end = next_ + lines * (number + 1) / parts * kLine;
        Prefetch one;
        one.next_ = begin;
        one.end_ = number + 1 == parts ? end_ : end;
        return one;
    }

    // Always inlined: the pixel kernels use them, see pixel_kernel_body.h.
    // All is prefetched after so many steps of work.
    [[gnu::always_inline]] void spread_over(std::size_t steps) { rate_ = (bytes() << kRateBits) / steps; }
    // Call after some steps.
    [[gnu::always_inline]] void advance(std::size_t steps) {
        due_ += steps * rate_;
        for (; due_ >= kLine << kRateBits && next_ < end_; due_ -= kLine << kRateBits) prefetch_line();
    }
    // Prefetches the rest.
    [[gnu::always_inline]] void finish() {
        while (next_ < end_) prefetch_line();
    }

  private:
    static constexpr std::size_t kLine = 64;
    static constexpr int kRateBits = 8;

    [[gnu::always_inline]] std::size_t bytes() const { return static_cast<std::size_t>(end_ - next_); }
    [[gnu::always_inline]] void prefetch_line() {
        constexpr int kRead = 0;
        constexpr int kSecondLevel = 2;  // the first level is too small for several records
        __builtin_prefetch(next_, kRead, kSecondLevel);
        next_ += kLine;
    }

    const std::uint8_t* next_ = nullptr;
    const std::uint8_t* end_ = nullptr;
    std::size_t rate_ = 0;  // bytes a step, times 2^kRateBits
    std::size_t due_ = 0;
};

}  // namespace selfie
