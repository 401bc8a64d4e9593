// Tests of reading ahead: the right bytes in every order, from every place, in a bounded memory.
#include "read_ahead.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"

using namespace selfie;

namespace {

// Files of records that tell their own index, removed at the end.
class Files {
  public:
    Files(const RecordLayout& layout, const std::vector<std::size_t>& records) {
        std::uint32_t index = 0;
        for (const std::size_t count : records) {
            std::string path = (std::filesystem::temp_directory_path() / "selfie_ahead_XXXXXX").string();
            ::close(::mkstemp(path.data()));
            std::ofstream file(path, std::ios::binary);
            std::vector<char> record(layout.record_bytes());
            for (std::size_t i = 0; i < count; ++i, ++index) {
                std::fill(record.begin(), record.end(), static_cast<char>(index % 251));
                std::memcpy(record.data() + kPixelOffset, &index, sizeof index);
                file.write(record.data(), static_cast<std::streamsize>(record.size()));
            }
            paths.push_back(path);
        }
    }
    ~Files() {
        for (const std::string& path : paths) ::unlink(path.c_str());
    }
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    std::vector<std::string> paths;
};

bool holds(const std::uint8_t* record, std::int64_t index, std::size_t record_bytes) {
    std::uint32_t told = 0;
    std::memcpy(&told, record + kPixelOffset, sizeof told);
    return told == index && record[record_bytes - 1] == static_cast<std::uint8_t>(index % 251);
}

// A reader, and the wait for its slices.
class Ahead {
  public:
    Ahead(const std::shared_ptr<RecordFiles>& files, ReadAheadOptions options)
        : ahead_(files, options, [this] {
              const std::lock_guard lock(mutex_);
              ready_.notify_all();
          }) {}

    std::unique_ptr<ReadAhead::Slice> request(const EpochOrder& order, std::uint64_t start,
                                              std::size_t count) {
        return ahead_.request(order, start, count);
    }
    bool wait(const ReadAhead::Slice& slice) {
        std::unique_lock lock(mutex_);
        return ready_.wait_for(lock, std::chrono::seconds(60), [&] { return ahead_.is_complete(slice); });
    }
    ReadAhead& reader() { return ahead_; }

  private:
    std::mutex mutex_;
    std::condition_variable ready_;
    ReadAhead ahead_;
};

// Slices of an epoch from `start` on, some of them asked for ahead; whether each gives its records.
bool read_epoch(Ahead& ahead, const EpochOrder& order, std::uint64_t start, std::size_t size,
                std::size_t record_bytes) {
    bool right = true;
    std::deque<std::unique_ptr<ReadAhead::Slice>> coming;
    const auto finish = [&] {
        ReadAhead::Slice& slice = *coming.front();
        right = right && ahead.wait(slice);
        ahead.reader().take(slice);
        for (std::size_t i = 0; i < slice.indices.size(); ++i)
            right = right && holds(slice.records[i], slice.indices[i], record_bytes);
        ahead.reader().release(slice);
        coming.pop_front();
    };
    for (std::uint64_t position = start; position < order.length(); position += size) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(size, order.length() - position));
        coming.push_back(ahead.request(order, position, count));
        if (coming.size() > 3) finish();
    }
    while (!coming.empty()) finish();
    return right;
}

EpochOrder make_order(OrderKind kind, std::uint64_t records) {
    EpochOrder order;
    order.kind = kind;
    order.num_records = records;
    order.seed = 3;
    order.epoch = 1;
    order.block_records = 10;
    order.window_records = 40;
    return order;
}

}  // namespace

void test_reading_ahead() {
    const RecordLayout layout = make_layout(3, 21, 19);
    const std::vector<std::size_t> counts = {113, 1, 2, 300, 87};  // blocks that lie in several files
    const Files written(layout, counts);
    const auto mapped = std::make_shared<RecordFiles>(written.paths, layout, 0, ReadMode::kMmap);
    check_throws<std::invalid_argument>([&] { Ahead(mapped, {1}); }, "reading ahead of mapped files");
    for (const ReadMode mode : {ReadMode::kPread, ReadMode::kDirect}) {
        const auto files = std::make_shared<RecordFiles>(written.paths, layout, 0, mode);
        std::vector<std::uint8_t> scratch(layout.record_bytes());
        for (const std::int64_t index : {0, 113, 502})
            check(holds(files->record(static_cast<std::uint64_t>(index), scratch.data()), index,
                        layout.record_bytes()),
                  "one record is read where it lies");
        for (int kind = 0; kind < 4; ++kind)
            for (const bool blocks : {false, true})
                for (const int depth : {1, 5}) {
                    Ahead ahead(files, {depth, blocks});
                    EpochOrder order = make_order(static_cast<OrderKind>(kind), files->size());
                    for (const std::uint64_t start : {0, 37, 499})
                        for (const std::size_t size : {7, 256}) {
                            const std::string what = "order " + std::to_string(kind) + " from " +
                                                     std::to_string(start) + ", slices of " +
                                                     std::to_string(size);
                            check(read_epoch(ahead, order, start, size, layout.record_bytes()), what);
                        }
                    ++order.epoch;
                    check(read_epoch(ahead, order, 0, 30, layout.record_bytes()), "another epoch");
                    std::vector<std::int64_t> members;
                    for (std::int64_t i = 0; i < 503; i += 3) members.push_back(i);
                    order.select(std::move(members));
                    check(read_epoch(ahead, order, 0, 30, layout.record_bytes()), "a part of the records");
                }
    }
}

void test_reading_ahead_of_a_cut_file() {
    const RecordLayout layout = make_layout(1, 64, 64);
    const Files written(layout, {200, 200});
    for (const bool blocks : {false, true}) {
        const auto files = std::make_shared<RecordFiles>(written.paths, layout, 0, ReadMode::kDirect);
        std::filesystem::resize_file(written.paths[1], 100 * layout.record_bytes() + 5);
        const EpochOrder order = make_order(OrderKind::kSequential, files->size());
        Ahead ahead(files, {3, blocks});
        check(read_epoch(ahead, make_order(OrderKind::kSequential, files->size()), 400, 1, 1), "nothing");
        auto whole = ahead.request(order, 0, 290);
        check(ahead.wait(*whole), "records before the cut come");
        ahead.reader().take(*whole);
        ahead.reader().release(*whole);
        auto cut = ahead.request(order, 290, 20);
        check(ahead.wait(*cut), "a failed read ends, too");
        check_throws<FileError>([&] { ahead.reader().take(*cut); }, "a cut record");
        ahead.reader().release(*cut);
        // Closed with reads in hand.
        auto left = ahead.request(order, 0, 200);
        ahead.reader().close();
        std::filesystem::resize_file(written.paths[1], 200 * layout.record_bytes());
    }
}
