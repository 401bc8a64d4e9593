// The record at each position of an epoch: a pure function, so an epoch can start anywhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "permutation.h"

namespace selfie {

enum class OrderKind {
    kSequential,   // as on disk
    kPermutation,  // a fresh shuffle of all records each epoch
    kIndependent,  // each global batch is its own draw without replacement, as the official program does
    kQuasi,        // blocks in random order, shuffled within a window of blocks: for data larger than memory
};

struct EpochOrder {
    OrderKind kind = OrderKind::kSequential;
    std::uint64_t num_records = 0;  // >= 1
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
    std::uint64_t global_batch_size = 1;  // kIndependent: records of one draw
    std::uint64_t block_records = 1;      // kQuasi: records that are read together
    std::uint64_t window_records = 1;     // kQuasi: a multiple of block_records

    // Throws std::invalid_argument where indices() would divide by zero or leave the data.
    void check() const {
        if (num_records == 0 || global_batch_size == 0 || global_batch_size > num_records ||
            block_records == 0 || window_records == 0 || window_records % block_records != 0)
            throw std::invalid_argument(
                "an order needs records, draws within them and windows of whole blocks, got " +
                std::to_string(num_records) + " records, " + std::to_string(global_batch_size) + " a draw, " +
                std::to_string(block_records) + " a block, " + std::to_string(window_records) + " a window");
    }

    // The number of positions. Independent draws are all of full size, so their epoch is rounded up.
    std::uint64_t length() const {
        if (kind != OrderKind::kIndependent) return num_records;
        return (num_records + global_batch_size - 1) / global_batch_size * global_batch_size;
    }

    // Writes the record indices of positions start..start+count-1, all below length().
    void indices(std::uint64_t start, std::uint64_t count, std::int64_t* out) const {
        switch (kind) {
            case OrderKind::kSequential:
                for (std::uint64_t i = 0; i < count; ++i) out[i] = static_cast<std::int64_t>(start + i);
                return;
            case OrderKind::kPermutation: {
                const KeyedPermutation permutation(num_records, seed, epoch, 0);
                for (std::uint64_t i = 0; i < count; ++i)
                    out[i] = static_cast<std::int64_t>(permutation(start + i));
                return;
            }
            case OrderKind::kIndependent:
                return independent(start, count, out);
            case OrderKind::kQuasi:
                return quasi(start, count, out);
        }
    }

    // The records to read ahead while positions start..start+count-1 are decoded, as visit(first record,
    // records): as many blocks of the next window as this slice uses of its own, and at the beginning all of
    // its own window. Only kQuasi reads blocks.
    template <class Visit>
    void read_ahead(std::uint64_t start, std::uint64_t count, bool beginning, Visit visit) const {
        if (kind != OrderKind::kQuasi) return;
        const Blocks blocks(*this);
        const auto visit_blocks = [&](std::uint64_t slot, std::uint64_t end) {
            slot = (slot + block_records - 1) / block_records * block_records;
            for (; slot < std::min(end, num_records); slot += block_records) {
                const std::uint64_t first = blocks.record(slot);
                const std::uint64_t records = std::min(block_records, num_records - slot);
                const std::uint64_t before_end = std::min(records, num_records - first);
                visit(first, before_end);
                if (before_end < records) visit(std::uint64_t{0}, records - before_end);
            }
        };
        if (beginning) {
            const std::uint64_t window = start / window_records * window_records;
            visit_blocks(window, window + window_records);
            visit_blocks(window + window_records, start + window_records);
        }
        visit_blocks(start + window_records, start + window_records + count);
    }

  private:
    // Salt 0 shuffles the whole epoch (or the blocks); salt k+1 shuffles draw or window k.
    void independent(std::uint64_t position, std::uint64_t count, std::int64_t* out) const {
        while (count > 0) {
            const std::uint64_t draw = position / global_batch_size;
            const std::uint64_t offset = position % global_batch_size;
            const std::uint64_t run = std::min(count, global_batch_size - offset);
            const KeyedPermutation permutation(num_records, seed, epoch, draw + 1);
            for (std::uint64_t i = 0; i < run; ++i)
                *out++ = static_cast<std::int64_t>(permutation(offset + i));
            position += run;
            count -= run;
        }
    }

    // The records form a ring, cut into blocks from a random place on, so that the cuts and the short block
    // at the end change each epoch. The short block keeps the last place.
    struct Blocks {
        std::uint64_t num_records;
        std::uint64_t block_records;
        std::uint64_t full_blocks;
        KeyedPermutation block_order;
        std::uint64_t rotation;

        explicit Blocks(const EpochOrder& order)
            : num_records(order.num_records),
              block_records(order.block_records),
              full_blocks(num_records / block_records),
              block_order(std::max<std::uint64_t>(full_blocks, 1), order.seed, order.epoch, 0),
              rotation(random_words(order.seed, order.epoch, 0, Stream::kRotation)[0] % num_records) {}

        // The record at a slot of the shuffled blocks.
        std::uint64_t record(std::uint64_t slot) const {
            const std::uint64_t place = slot / block_records;
            const std::uint64_t block = place < full_blocks ? block_order(place) : place;
            return (rotation + block * block_records + slot % block_records) % num_records;
        }
    };

    void quasi(std::uint64_t position, std::uint64_t count, std::int64_t* out) const {
        const Blocks blocks(*this);
        while (count > 0) {
            const std::uint64_t window = position / window_records;
            const std::uint64_t begin = window * window_records;
            const std::uint64_t length = std::min(window_records, num_records - begin);
            const std::uint64_t run = std::min(count, begin + length - position);
            const KeyedPermutation within(length, seed, epoch, window + 1);
            for (std::uint64_t i = 0; i < run; ++i)
                *out++ = static_cast<std::int64_t>(blocks.record(begin + within(position + i - begin)));
            position += run;
            count -= run;
        }
    }
};

}  // namespace selfie
