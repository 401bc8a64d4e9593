// The record at each position of an epoch: a pure function, so an epoch can start anywhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

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
    std::uint64_t num_records = 0;  // of the whole split, >= 1
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
    std::uint64_t global_batch_size = 1;  // kIndependent: records of one draw
    std::uint64_t block_records = 1;      // kQuasi: records that are read together
    std::uint64_t window_records = 1;     // kQuasi: a multiple of block_records

    // Part of the split, set by select(); null: all records. In the epoch's order, but ascending for
    // kIndependent, which shuffles them anew for each draw, and where weights draw among them.
    std::shared_ptr<const std::vector<std::int64_t>> members;

    // Running totals of the weights of the members, or of all records, set by weigh(); null: each record
    // comes once.
    std::shared_ptr<const std::vector<double>> weight_totals;

    // Throws std::invalid_argument where indices() would divide by zero or leave the data.
    void check() const;

    // Draws the records by weight, with replacement, each position by itself. Throws std::invalid_argument
    // unless the running totals are finite, ascend and end above 0. Call it before select().
    void weigh(std::vector<double> totals);

    // Limits the epoch to some records, ascending and without repetition. They keep the order that they have
    // among all records. Throws std::invalid_argument unless they are so. Call it after all fields are set.
    void select(std::vector<std::int64_t> records);

    // The records to choose from.
    std::uint64_t num_members() const { return members ? members->size() : num_records; }

    // The number of positions. Independent draws are all of full size, so their epoch is rounded up.
    std::uint64_t length() const {
        if (kind != OrderKind::kIndependent) return num_members();
        return (num_members() + global_batch_size - 1) / global_batch_size * global_batch_size;
    }

    // Writes the record indices of positions start..start+count-1, all below length().
    void indices(std::uint64_t start, std::uint64_t count, std::int64_t* out) const;

    // The records to read ahead while positions start..start+count-1 are decoded, as visit(first record,
    // records): as many blocks of the next window as this slice uses of its own, and at the beginning all of
    // its own window. Only kQuasi over all records reads blocks.
    template <class Visit>
    void read_ahead(std::uint64_t start, std::uint64_t count, bool beginning, Visit visit) const {
        if (kind != OrderKind::kQuasi || members || weight_totals) return;
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

        // The slot of a record.
        std::uint64_t slot(std::uint64_t record) const {
            const std::uint64_t ring = (record + num_records - rotation) % num_records;
            const std::uint64_t block = ring / block_records;
            const std::uint64_t place = block < full_blocks ? block_order.inverse(block) : block;
            return place * block_records + ring % block_records;
        }
    };

    void all_records(std::uint64_t start, std::uint64_t count, std::int64_t* out) const;
    void independent(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    void quasi(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    void weighted(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    std::vector<std::uint64_t> positions(const std::vector<std::int64_t>& records) const;
};

}  // namespace selfie
