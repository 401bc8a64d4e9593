// Tests of the core without Python and without a framework: for sanitizers, and for processors that this
// machine does not have (an emulator runs it). Exit status 0, or a line per failure.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "batch_decoder.h"
#include "checks.h"
#include "decode_steps.h"

using namespace selfie;

namespace {

// A file of records whose pixels are a simple function of record and place, removed at the end.
class RecordFile {
  public:
    RecordFile(const RecordLayout& layout, std::size_t records, std::uint32_t label = 3) {
        path_ = (std::filesystem::temp_directory_path() / "selfie_core_test_XXXXXX").string();
        const int descriptor = ::mkstemp(path_.data());
        bytes_.assign(records * layout.record_bytes(), 0);
        for (std::size_t i = 0; i < records; ++i) {
            std::uint8_t* record = bytes_.data() + i * layout.record_bytes();
            record[kRecordIdOffset + 3] = static_cast<std::uint8_t>(i + 1);
            record[kLabelOffset + 3] = static_cast<std::uint8_t>(label);
            for (std::size_t k = 0; k < layout.pixel_bytes(); ++k)
                record[kPixelOffset + k] = static_cast<std::uint8_t>((i * 131 + k * k * 7 + k) >> 1);
        }
        if (::write(descriptor, bytes_.data(), bytes_.size()) != static_cast<ssize_t>(bytes_.size()))
            std::abort();
        ::close(descriptor);
    }
    ~RecordFile() { ::unlink(path_.c_str()); }
    RecordFile(const RecordFile&) = delete;
    RecordFile& operator=(const RecordFile&) = delete;

    const std::string& path() const { return path_; }

    std::shared_ptr<RecordFiles> open(const RecordLayout& layout, ReadMode mode) const {
        return std::make_shared<RecordFiles>(std::vector<std::string>{path_}, layout, 10, mode);
    }

  private:
    std::string path_;
    std::vector<std::uint8_t> bytes_;
};

void test_orders() {
    for (const std::uint64_t size : {1, 2, 3, 17, 256, 1000})
        for (int kind = 0; kind < 4; ++kind) {
            EpochOrder order;
            order.kind = static_cast<OrderKind>(kind);
            order.num_records = size;
            order.seed = 5;
            order.epoch = 9;
            order.global_batch_size = size;
            order.block_records = 8;
            order.window_records = 32;
            std::vector<std::int64_t> whole(order.length());
            order.indices(0, whole.size(), whole.data());
            check(std::set<std::int64_t>(whole.begin(), whole.end()).size() == size, "every record once");
            std::vector<std::int64_t> part(whole.size() - size / 3);
            order.indices(size / 3, part.size(), part.data());
            check(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(size / 3)),
                  "an order may begin anywhere");
        }
}

// Every record is read ahead, and before it is used.
void test_coming_blocks() {
    EpochOrder order;
    order.kind = OrderKind::kQuasi;
    order.num_records = 1003;
    order.block_records = 10;
    order.window_records = 70;
    for (const std::uint64_t start : {0, 21, 140, 555, 1001}) {
        std::vector<int> times(order.num_records);
        bool in_time = true;
        for (std::uint64_t position = start; position < order.num_records; position += 21) {
            const std::uint64_t count = std::min<std::uint64_t>(21, order.num_records - position);
            order.visit_coming(position, count, position == start,
                               [&](std::uint64_t first, std::uint64_t records) {
                                   for (std::uint64_t i = 0; i < records; ++i) ++times.at(first + i);
                               });
            std::vector<std::int64_t> used(count);
            order.indices(position, count, used.data());
            for (const std::int64_t index : used)
                in_time = in_time && times[static_cast<std::size_t>(index)] == 1;
        }
        check(in_time, "records are read ahead once, before they are used, from " + std::to_string(start));
    }
}

std::vector<Batch> decode_all(const std::shared_ptr<RecordFiles>& files, const PixelPlan& plan, int threads,
                              std::size_t batch_size, ReadAheadOptions reading = {}) {
    auto pool = std::make_shared<BufferPool>(batch_bytes(plan, batch_size), 3);
    BatchDecoder decoder(files, plan, pool, nullptr, threads, reading);
    EpochOrder order;
    order.kind = OrderKind::kPermutation;
    order.num_records = files->size();
    std::size_t submitted = 0;
    for (std::size_t start = 0; start < files->size(); start += batch_size, ++submitted)
        decoder.submit(order, start, std::min<std::size_t>(batch_size, files->size() - start));
    std::vector<Batch> batches;
    while (submitted-- > 0) {
        std::optional<Batch> batch;
        while (!batch) batch = decoder.next(std::chrono::milliseconds(1000));
        batches.push_back(*batch);
    }
    return batches;
}

PixelPlan make_random_plan(const RecordLayout& layout) {
    PixelPlan plan = make_plan(layout);
    plan.augment.pad = 4;
    plan.augment.flip = FlipMode::kRandom;
    return plan;
}

void test_decoder() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const RecordFile file(layout, 200);
    PixelPlan plan = make_random_plan(layout);
    plan.normalize.mode = NormalizeMode::kPerImage;
    const std::vector<Batch> alone = decode_all(file.open(layout, ReadMode::kMmap), plan, 1, 7);
    for (const int threads : {2, 5})
        for (const ReadMode mode : {ReadMode::kMmap, ReadMode::kPread, ReadMode::kDirect}) {
            const ReadAheadOptions reading = {mode == ReadMode::kDirect ? 3 : 0};
            const std::vector<Batch> shared = decode_all(file.open(layout, mode), plan, threads, 7, reading);
            bool same = alone.size() == shared.size();
            for (std::size_t i = 0; same && i < alone.size(); ++i)
                same = std::memcmp(alone[i].images, shared[i].images, alone[i].count * plan.image_bytes()) ==
                           0 &&
                       std::equal(alone[i].indices, alone[i].indices + alone[i].count, shared[i].indices) &&
                       shared[i].record_ids[0] == (shared[i].indices[0] + 1) % 256;
            check(same, "batches do not depend on threads or on how files are read");
        }
}

// Gathering records and decoding their pixels afterwards is what the decoder does at once.
void test_steps() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const RecordFile file(layout, 20);
    const PixelPlan plan = make_random_plan(layout);
    const auto files = file.open(layout, ReadMode::kMmap);
    const std::vector<Batch> whole = decode_all(files, plan, 1, files->size());
    const Batch& batch = whole.at(0);
    std::vector<std::uint8_t> pixels(batch.count * layout.pixel_bytes());
    std::vector<std::int64_t> labels(batch.count);
    std::vector<std::int64_t> ids(batch.count);
    for (const ReadMode mode : {ReadMode::kMmap, ReadMode::kPread}) {
        gather_records(*file.open(layout, mode), batch.indices, batch.count, pixels.data(), labels.data(),
                       ids.data());
        check(std::equal(labels.begin(), labels.end(), batch.labels) &&
                  std::equal(ids.begin(), ids.end(), batch.record_ids),
              "labels and ids are gathered");
        BufferPool pool(batch_bytes(plan, batch.count), 1);
        const auto decoded = decode_images(plan, pool, 0, 0, batch.indices, batch.count, pixels.data());
        check(std::memcmp(decoded.get(), batch.images, batch.count * plan.image_bytes()) == 0,
              "gathered images are decoded as records are");
    }
    const std::int64_t beyond[] = {0, 20};
    check_throws<std::out_of_range>(
        [&] { gather_records(*files, beyond, 2, pixels.data(), labels.data(), ids.data()); },
        "an index to gather beyond the end");
    BufferPool small(batch_bytes(plan, 1), 1);
    check_throws<std::invalid_argument>(
        [&] { decode_images(plan, small, 0, 0, batch.indices, batch.count, pixels.data()); },
        "more images than fit a buffer");
}

// Large buffers can be of huge pages, and are used again.
void test_pool() {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    for (const std::size_t bytes : {std::size_t{1}, kHugePage, kHugePage + 1, 5 * kHugePage / 2}) {
        BufferPool pool(bytes, 1);
        std::uint8_t* first = nullptr;
        for (int turn = 0; turn < 2; ++turn) {
            const std::shared_ptr<std::uint8_t> buffer = pool.acquire();
            std::fill_n(buffer.get(), bytes, std::uint8_t{1});
            if (bytes >= kHugePage)
                check(reinterpret_cast<std::uintptr_t>(buffer.get()) % kHugePage == 0,
                      "a large buffer begins where a huge page can");
            if (turn == 0) first = buffer.get();
            check(buffer.get() == first, "a buffer is used again");
        }
    }
}

// Closing while workers work, from another thread, and batches that outlive everything.
void test_closing() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const RecordFile file(layout, 200);
    const PixelPlan plan = make_plan(layout);
    for (int round = 0; round < 20; ++round) {
        const auto files = file.open(layout, ReadMode::kMmap);
        auto pool = std::make_shared<BufferPool>(batch_bytes(plan, 50), 1);
        std::optional<Batch> kept;
        {
            BatchDecoder decoder(files, plan, pool, nullptr, 3);
            EpochOrder order;
            order.num_records = files->size();
            for (std::uint64_t start = 0; start < 200; start += 50) decoder.submit(order, start, 50);
            while (!kept) kept = decoder.next(std::chrono::milliseconds(1000));
            std::thread closer([&] { decoder.close(); });
            decoder.close();
            closer.join();
            check_throws<std::runtime_error>([&] { decoder.submit(order, 0, 1); }, "a closed decoder");
        }
        pool.reset();
        check(kept && kept->indices[49] == 49, "a batch outlives decoder and pool");
    }
}

void test_errors() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const RecordFile file(layout, 5, 12);  // labels beyond the 10 classes
    const auto files = file.open(layout, ReadMode::kPread);
    const PixelPlan plan = make_plan(layout);
    auto pool = std::make_shared<BufferPool>(batch_bytes(plan, 5), 1);
    BatchDecoder decoder(files, plan, pool, nullptr, 2);
    EpochOrder order;
    order.num_records = files->size();
    decoder.submit(order, 0, 5);
    check_throws<std::invalid_argument>([&] { decoder.next(std::chrono::milliseconds(5000)); },
                                        "a bad label");
    check_throws<std::invalid_argument>([&] { decoder.submit(order, 3, 3); }, "a slice beyond the end");
    check_throws<std::invalid_argument>([&] { file.open(make_layout(3, 31, 32), ReadMode::kMmap); },
                                        "a file of another shape");
    check_throws<std::out_of_range>([&] { files->check_index(5); }, "an index beyond the end");
    const std::string missing = file.path() + ".missing";
    check_throws<FileError>([&] { RecordFiles({missing}, make_layout(1, 1, 1), 0, ReadMode::kMmap); },
                            "a missing file");
}

// The instruction sets that this processor has, as make sanitize asks for them.
int list_isas() {
    for (const char* isa : {"generic", "avx2", "avx512", "neon"}) {
        ::setenv("SELFIE_IO_ISA", isa, 1);
        try {
            std::printf("%s\n", pixel_kernel().isa);
        } catch (const std::invalid_argument&) {
        }
    }
    return 0;
}

// A long read asks now and then whether it shall go on.
void test_poll() {
    const RecordLayout layout{1, 2, 2};
    const RecordFile file(layout, 200);
    const auto files = file.open(layout, ReadMode::kMmap);
    std::vector<std::uint32_t> ids(200);
    std::vector<std::int64_t> labels(200), indices(200, 7);
    std::vector<std::uint8_t> pixels(200 * layout.pixel_bytes());
    int calls = 0;
    const auto stop = [&] {
        if (++calls == 2) throw std::runtime_error("Ctrl-C");
    };
    check_throws<std::runtime_error>([&] { files->headers(ids.data(), labels.data(), stop); },
                                     "headers that are interrupted");
    check(calls == 2 && ids[63] == 64 && ids[64] == 0, "headers stop at the second poll");
    calls = 0;
    check_throws<std::runtime_error>([&] { files->images(indices.data(), 200, pixels.data(), stop); },
                                     "images that are interrupted");
    check(calls == 2, "images stop at the second poll");
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::strcmp(arguments[1], "--isas") == 0) return list_isas();
    test_pixels();
    test_sums();
    test_resize_and_colour();
    test_one_resized_side();
    test_orders();
    test_coming_blocks();
    test_decoder();
    test_reading_ahead();
    test_reading_ahead_of_a_cut_file();
    test_steps();
    test_pool();
    test_closing();
    test_errors();
    test_poll();
    test_lost_files();
    std::printf("%s: %s\n", pixel_kernel().isa, failures == 0 ? "all passed" : "failed");
    return failures == 0 ? 0 : 1;
}
