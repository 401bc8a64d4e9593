// Fuzzes the orders of an epoch and the keyed permutation: every record once, from any position on, and the
// inverse leads back. Only std::invalid_argument may come out.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "epoch_order.h"
#include "fuzz_input.h"

using namespace selfie;

namespace {

constexpr std::uint64_t kMaxLength = 5000;

void permute(FuzzInput& input) {
    const std::uint64_t size =
        std::max<std::uint64_t>(input.take<std::uint64_t>() >> input.take<std::uint8_t>() % 64, 1);
    const KeyedPermutation permutation(size, input.take<std::uint64_t>(), input.take<std::uint32_t>(),
                                       input.take<std::uint16_t>());
    for (int i = 0; i < 4; ++i) {
        const std::uint64_t position = input.take<std::uint64_t>() % size;
        const std::uint64_t value = permutation(position);
        expect(value < size, "a permutation stays below its size");
        expect(permutation.inverse(value) == position, "the inverse leads back");
    }
}

void order_epoch(FuzzInput& input) {
    EpochOrder order;
    order.kind = static_cast<OrderKind>(input.take<std::uint8_t>() % 4);
    order.num_records = static_cast<std::uint64_t>(input.size(0, 700));
    order.seed = input.take<std::uint64_t>();
    order.epoch = input.take<std::uint32_t>();
    order.global_batch_size = static_cast<std::uint64_t>(input.size(0, 90));
    order.block_records = static_cast<std::uint64_t>(input.size(0, 40));
    order.window_records = static_cast<std::uint64_t>(input.size(0, 4)) * order.block_records;
    const auto weights = input.take<std::uint8_t>();
    const auto members = input.take<std::uint8_t>();
    const auto from = input.take<std::uint16_t>();
    // In the order in which bindings.cpp calls them.
    order.check();
    if (order.num_records / order.window_records > kMaxLength) return;  // select() walks the windows
    if (weights % 4 == 0) {
        std::vector<double> totals;
        double total = 0;
        for (int i = 0; i < weights && i < 50; ++i) totals.push_back(total += input.take<std::uint8_t>());
        if (input.flag() && !totals.empty()) totals.back() = input.take<double>();
        order.weigh(totals);
    }
    if (members % 2 == 0) {
        std::vector<std::int64_t> records;
        std::int64_t record = -1;
        for (int i = 0; i < members; ++i) records.push_back(record += 1 + input.take<std::uint8_t>() % 5);
        if (input.flag() && !records.empty()) records.back() = input.take<std::int64_t>();
        order.select(records);
    }
    order.check();
    if (order.length() > kMaxLength) return;
    std::vector<std::int64_t> whole(order.length());
    order.indices(0, whole.size(), whole.data());
    for (const std::int64_t index : whole)
        expect(index >= 0 && static_cast<std::uint64_t>(index) < order.num_records,
               "an order stays in the data");
    const std::uint64_t start = from % (whole.size() + 1);
    std::vector<std::int64_t> part(whole.size() - start);
    order.indices(start, part.size(), part.data());
    expect(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(start)),
           "an order begins anywhere");
    order.visit_coming(start, part.size(), true, [&](std::uint64_t first, std::uint64_t records) {
        expect(first < order.num_records && records <= order.num_records - first,
               "reading ahead stays in the data");
    });
    if (order.kind == OrderKind::kIndependent || order.weight_totals) return;
    std::sort(whole.begin(), whole.end());
    expect(std::adjacent_find(whole.begin(), whole.end()) == whole.end(), "every record comes once");
    expect(whole.size() == order.num_members(), "every record comes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
    FuzzInput input(bytes, count);
    try {
        if (input.flag())
            permute(input);
        else
            order_epoch(input);
    } catch (const std::invalid_argument&) {
    }
    return 0;
}
