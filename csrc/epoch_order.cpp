#include "epoch_order.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace selfie {

void EpochOrder::check() const {
    constexpr int kBits = 60;  // of every size: then no sum of a few of them overflows
    const std::uint64_t all = num_records | global_batch_size | block_records | window_records;
    if (all >> kBits != 0 || num_records == 0 || global_batch_size == 0 ||
        global_batch_size > num_members() || block_records == 0 || window_records == 0 ||
        window_records % block_records != 0)
        throw std::invalid_argument(
            "an order needs records, draws within them and windows of whole blocks, got " +
            std::to_string(num_members()) + " records, " + std::to_string(global_batch_size) + " a draw, " +
            std::to_string(block_records) + " a block, " + std::to_string(window_records) + " a window");
    if (weight_totals && (kind == OrderKind::kIndependent || kind == OrderKind::kQuasi))
        throw std::invalid_argument("weights draw each position by itself: they need no order of their own");
    if (weight_totals && weight_totals->size() != num_members())
        throw std::invalid_argument("weights must have one value per record (" +
                                    std::to_string(num_members()) + "), got " +
                                    std::to_string(weight_totals->size()));
}

void EpochOrder::weigh(std::vector<double> totals) {
    double before = 0;
    for (const double total : totals) {
        if (!(total >= before) || !std::isfinite(total))
            throw std::invalid_argument("weights must be finite and not negative");
        before = total;
    }
    if (before <= 0) throw std::invalid_argument("weights must not all be zero");
    weight_totals = std::make_shared<const std::vector<double>>(std::move(totals));
}

void EpochOrder::select(std::vector<std::int64_t> records) {
    std::int64_t before = -1;
    for (const std::int64_t record : records) {
        if (record <= before || static_cast<std::uint64_t>(record) >= num_records)
            throw std::invalid_argument("selected records must ascend within 0.." +
                                        std::to_string(num_records - 1) + ", got " + std::to_string(record) +
                                        " after " + std::to_string(before));
        before = record;
    }
    if (records.empty()) throw std::invalid_argument("at least one record must be selected, got none");
    const bool shuffled = kind == OrderKind::kPermutation || kind == OrderKind::kQuasi;
    if (shuffled && !weight_totals) {
        // Sorts by position: buckets of one record on average, then a pass of insertion.
        const std::vector<std::uint64_t> place = positions(records);
        const std::size_t count = records.size();
        const auto bucket = [&](std::uint64_t position) {
            return static_cast<std::size_t>(static_cast<double>(position) / static_cast<double>(num_records) *
                                            static_cast<double>(count));
        };
        std::vector<std::size_t> end(count + 1);
        for (const std::uint64_t position : place) ++end[std::min(bucket(position), count - 1) + 1];
        for (std::size_t i = 0; i < count; ++i) end[i + 1] += end[i];
        std::vector<std::pair<std::uint64_t, std::int64_t>> sorted(count);
        for (std::size_t i = 0; i < count; ++i)
            sorted[end[std::min(bucket(place[i]), count - 1)]++] = {place[i], records[i]};
        for (std::size_t i = 1; i < count; ++i)
            for (std::size_t k = i; k > 0 && sorted[k] < sorted[k - 1]; --k)
                std::swap(sorted[k], sorted[k - 1]);
        for (std::size_t i = 0; i < count; ++i) records[i] = sorted[i].second;
    }
    members = std::make_shared<const std::vector<std::int64_t>>(std::move(records));
}

// The position of each record in the epoch of all records.
std::vector<std::uint64_t> EpochOrder::positions(const std::vector<std::int64_t>& records) const {
    std::vector<std::uint64_t> out(records.size());
    if (kind == OrderKind::kPermutation) {
        const KeyedPermutation permutation(num_records, seed, epoch, 0);
        for (std::size_t i = 0; i < records.size(); ++i)
            out[i] = permutation.inverse(static_cast<std::uint64_t>(records[i]));
        return out;
    }
    const EpochBlocks blocks(*this);
    std::vector<KeyedPermutation> within;
    for (std::uint64_t begin = 0; begin < num_records; begin += window_records)
        within.emplace_back(std::min(window_records, num_records - begin), seed, epoch,
                            begin / window_records + 1);
    for (std::size_t i = 0; i < records.size(); ++i) {
        const std::uint64_t slot = blocks.slot(static_cast<std::uint64_t>(records[i]));
        const std::uint64_t window = slot / window_records;
        const std::uint64_t begin = window * window_records;
        out[i] = begin + within[static_cast<std::size_t>(window)].inverse(slot - begin);
    }
    return out;
}

void EpochOrder::indices(std::uint64_t start, std::uint64_t count, std::int64_t* out) const {
    if (weight_totals) return weighted(start, count, out);
    if (!members) return all_records(start, count, out);
    if (kind == OrderKind::kIndependent) {
        independent(start, count, out);
        for (std::uint64_t i = 0; i < count; ++i) out[i] = (*members)[static_cast<std::size_t>(out[i])];
        return;
    }
    std::copy_n(members->begin() + static_cast<std::ptrdiff_t>(start), count, out);
}

void EpochOrder::all_records(std::uint64_t start, std::uint64_t count, std::int64_t* out) const {
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

// Salt 0 shuffles the whole epoch (or the blocks); salt k+1 shuffles draw or window k.
void EpochOrder::independent(std::uint64_t position, std::uint64_t count, std::int64_t* out) const {
    while (count > 0) {
        const std::uint64_t draw = position / global_batch_size;
        const std::uint64_t offset = position % global_batch_size;
        const std::uint64_t run = std::min(count, global_batch_size - offset);
        const KeyedPermutation permutation(num_members(), seed, epoch, draw + 1);
        for (std::uint64_t i = 0; i < run; ++i) *out++ = static_cast<std::int64_t>(permutation(offset + i));
        position += run;
        count -= run;
    }
}

void EpochOrder::quasi(std::uint64_t position, std::uint64_t count, std::int64_t* out) const {
    const EpochBlocks blocks(*this);
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

// With replacement: the first record whose running total exceeds a uniform part of the whole.
void EpochOrder::weighted(std::uint64_t position, std::uint64_t count, std::int64_t* out) const {
    const std::vector<double>& totals = *weight_totals;
    for (std::uint64_t i = 0; i < count; ++i) {
        const Words words = random_words(seed, epoch, position + i, Stream::kWeighted);
        const double wanted = random_unit(words[0], words[1]) * totals.back();
        auto found = std::upper_bound(totals.begin(), totals.end(), wanted);
        // Rounding may reach the total itself: then the last record of positive weight.
        if (found == totals.end()) found = std::lower_bound(totals.begin(), totals.end(), totals.back());
        const auto place = found - totals.begin();
        out[i] = members ? (*members)[static_cast<std::size_t>(place)] : place;
    }
}

}  // namespace selfie
