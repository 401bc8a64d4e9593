// A keyed bijection of 0..size-1: a shuffle that needs no index array and can start anywhere.
// An unbalanced Feistel network over the smallest power of two that holds size, repeated until the value is
// below size (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
#pragma once

#include <algorithm>
#include <cstdint>

#include "random.h"

namespace selfie {

class KeyedPermutation {
  public:
    // size >= 1. Each (seed, epoch, salt) gives a permutation of its own.
    KeyedPermutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch, std::uint64_t salt)
        : size_(size) {
        int bits = 2;
        while (bits < 64 && (size - 1) >> bits != 0) ++bits;
        low_bits_ = bits / 2;
        low_mask_ = static_cast<std::uint32_t>((std::uint64_t{1} << low_bits_) - 1);
        high_mask_ = static_cast<std::uint32_t>((std::uint64_t{1} << (bits - low_bits_)) - 1);
        const Words first = random_words(seed, epoch, salt, Stream::kPermutation);
        const Words second = random_words(seed, epoch, salt, Stream::kPermutationHigh);
        std::copy(first.begin(), first.end(), round_keys_);
        std::copy(second.begin(), second.end(), round_keys_ + 4);
    }

    // position in 0..size-1. The domain is less than twice the size (or 4), so few values need a second step.
    std::uint64_t operator()(std::uint64_t position) const {
        do position = encrypt(position);
        while (position >= size_);
        return position;
    }

    // The position of a value: inverse(permutation(position)) == position.
    std::uint64_t inverse(std::uint64_t value) const {
        do value = decrypt(value);
        while (value >= size_);
        return value;
    }

    bool operator==(const KeyedPermutation& other) const {
        return size_ == other.size_ && std::equal(round_keys_, round_keys_ + 8, other.round_keys_);
    }

  private:
    static std::uint32_t mix(std::uint32_t value) {
        value *= 0x9E3779B1u;
        value ^= value >> 15;
        value *= 0x85EBCA77u;
        return value ^ value >> 16;
    }

    std::uint64_t encrypt(std::uint64_t value) const {
        auto low = static_cast<std::uint32_t>(value) & low_mask_;
        auto high = static_cast<std::uint32_t>(value >> low_bits_);
        for (int round = 0; round < 8; round += 2) {
            high ^= mix(low ^ round_keys_[round]) & high_mask_;
            low ^= mix(high ^ round_keys_[round + 1]) & low_mask_;
        }
        return std::uint64_t{high} << low_bits_ | low;
    }

    std::uint64_t decrypt(std::uint64_t value) const {
        auto low = static_cast<std::uint32_t>(value) & low_mask_;
        auto high = static_cast<std::uint32_t>(value >> low_bits_);
        for (int round = 6; round >= 0; round -= 2) {
            low ^= mix(high ^ round_keys_[round + 1]) & low_mask_;
            high ^= mix(low ^ round_keys_[round]) & high_mask_;
        }
        return std::uint64_t{high} << low_bits_ | low;
    }

    std::uint64_t size_;
    int low_bits_;
    std::uint32_t low_mask_;
    std::uint32_t high_mask_;
    std::uint32_t round_keys_[8];
};

}  // namespace selfie
