// An input of a fuzzer as numbers: whatever is left over is zero, so that every input has a meaning.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

class FuzzInput {
  public:
    FuzzInput(const std::uint8_t* bytes, std::size_t count) : bytes_(bytes), left_(count) {}

    template <class Number>
    Number take() {
        Number number = 0;
        const std::size_t count = left_ < sizeof number ? left_ : sizeof number;
        std::memcpy(&number, bytes_, count);
        bytes_ += count;
        left_ -= count;
        return number;
    }

    // In low..high for seven inputs of eight, else any number at all.
    std::int64_t size(std::int64_t low, std::int64_t high) {
        const auto kind = take<std::uint8_t>();
        if (kind % 8 == 7) return take<std::int64_t>();
        return low + static_cast<std::int64_t>(take<std::uint16_t>()) % (high - low + 1);
    }

    bool flag() { return take<std::uint8_t>() % 2 == 1; }

    const std::uint8_t* bytes() const { return bytes_; }
    std::size_t left() const { return left_; }

  private:
    const std::uint8_t* bytes_;
    std::size_t left_;
};

// A broken promise ends the fuzzer with its input.
inline void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "BROKEN PROMISE: %s\n", what);
    std::abort();
}
