// The record at each position of an epoch: a pure function, so an epoch can start anywhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "permutation.h"
#include "random.h"

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

    // Whether the epoch uses blocks of neighbouring records one after the other: kSequential and kQuasi.
    bool has_blocks() const {
        return (kind == OrderKind::kSequential || kind == OrderKind::kQuasi) && !weight_totals;
    }

    // The records whose reads may begin while positions start..start+count-1 are decoded, as visit(first
    // record, records): as many blocks of the next window as this slice uses of its own, and at the beginning
    // all of its own window. Only kQuasi over all records has such blocks.
    template <class Visit>
    void visit_coming(std::uint64_t start, std::uint64_t count, bool beginning, Visit visit) const;

  private:
    void all_records(std::uint64_t start, std::uint64_t count, std::int64_t* out) const;
    void independent(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    void quasi(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    void weighted(std::uint64_t position, std::uint64_t count, std::int64_t* out) const;
    std::vector<std::uint64_t> positions(const std::vector<std::int64_t>& records) const;
};

// The blocks of an epoch, by their place in it.
// For kQuasi the records form a ring, cut into blocks from a random place on, so that the cuts and the short
// block at the end change each epoch. The short block keeps the last place. For kSequential nothing moves.
class EpochBlocks {
  public:
    explicit EpochBlocks(const EpochOrder& order)
        : num_records_(order.num_records),
          block_records_(order.block_records),
          full_blocks_(num_records_ / block_records_),
          shuffles_(order.kind == OrderKind::kQuasi),
          block_order_(std::max<std::uint64_t>(full_blocks_, 1), order.seed, order.epoch, 0),
          rotation_(shuffles_ ? random_words(order.seed, order.epoch, 0, Stream::kRotation)[0] % num_records_
                              : 0) {}

    // Whether the blocks are the same at every place.
    bool operator==(const EpochBlocks& other) const {
        return num_records_ == other.num_records_ && block_records_ == other.block_records_ &&
               shuffles_ == other.shuffles_ && rotation_ == other.rotation_ &&
               block_order_ == other.block_order_;
    }

    std::uint64_t num_places() const { return (num_records_ + block_records_ - 1) / block_records_; }

    // The record at a slot of the blocks as they are placed.
    std::uint64_t record(std::uint64_t slot) const {
        const std::uint64_t place = slot / block_records_;
        const std::uint64_t block = shuffles_ && place < full_blocks_ ? block_order_(place) : place;
        return (rotation_ + block * block_records_ + slot % block_records_) % num_records_;
    }

    // The slot of a record.
    std::uint64_t slot(std::uint64_t record) const {
        const std::uint64_t ring = (record + num_records_ - rotation_) % num_records_;
        const std::uint64_t block = ring / block_records_;
        const std::uint64_t place = shuffles_ && block < full_blocks_ ? block_order_.inverse(block) : block;
        return place * block_records_ + ring % block_records_;
    }

    std::uint64_t place(std::uint64_t record) const { return slot(record) / block_records_; }

    // The records of the block at a place, as visit(first record, records): two runs where the ring closes.
    template <class Visit>
    void visit_place(std::uint64_t place, Visit visit) const {
        const std::uint64_t slot = place * block_records_;
        const std::uint64_t first = record(slot);
        const std::uint64_t records = std::min(block_records_, num_records_ - slot);
        const std::uint64_t before_end = std::min(records, num_records_ - first);
        visit(first, before_end);
        if (before_end < records) visit(std::uint64_t{0}, records - before_end);
    }

  private:
    std::uint64_t num_records_;
    std::uint64_t block_records_;
    std::uint64_t full_blocks_;
    bool shuffles_;
    KeyedPermutation block_order_;
    std::uint64_t rotation_;
};

template <class Visit>
void EpochOrder::visit_coming(std::uint64_t start, std::uint64_t count, bool beginning, Visit visit) const {
    if (kind != OrderKind::kQuasi || members || weight_totals) return;
    const EpochBlocks blocks(*this);
    const auto visit_blocks = [&](std::uint64_t slot, std::uint64_t end) {
        slot = (slot + block_records - 1) / block_records * block_records;
        for (; slot < std::min(end, num_records); slot += block_records)
            blocks.visit_place(slot / block_records, visit);
    };
    if (beginning) {
        const std::uint64_t window = start / window_records * window_records;
        visit_blocks(window, window + window_records);
        visit_blocks(window + window_records, start + window_records);
    }
    visit_blocks(start + window_records, start + window_records + count);
}

}  // namespace selfie
