// Tests of files that are cut while threads read them: an error or the right bytes, never a signal or zeros.
#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "batch_decoder.h"
#include "checks.h"
#include "cut_file.h"

using namespace selfie;

namespace {

constexpr std::size_t kRecords = 150;
constexpr std::size_t kBatch = 8;

PixelPlan plan_of_bytes(const RecordLayout& layout) {
    PixelPlan plan = make_plan(layout);
    plan.type = PixelType::kUint8;
    return plan;
}

// Whether each image of a batch has the bytes that were written.
bool as_written(const Batch& batch, const CutFile& file, const PixelPlan& plan) {
    for (std::size_t i = 0; i < batch.count; ++i) {
        const std::uint8_t* wanted =
            file.bytes().data() + static_cast<std::size_t>(batch.indices[i]) * plan.layout.record_bytes();
        const auto* image = static_cast<const std::uint8_t*>(batch.images) + i * plan.image_bytes();
        if (!std::equal(wanted + kPixelOffset, wanted + plan.layout.record_bytes(), image) ||
            batch.labels[i] != wanted[kLabelOffset + 3])
            return false;
    }
    return true;
}

// Reads an epoch; the file is cut after `cut_after` batches. Returns whether that was noticed.
bool read_and_cut(const CutFile& file, const std::shared_ptr<RecordFiles>& files, int readers,
                  std::size_t cut_after, std::size_t left) {
    const PixelPlan plan = plan_of_bytes(files->layout());
    auto pool = std::make_shared<BufferPool>(batch_bytes(plan, kBatch), 4);
    BatchDecoder decoder(files, plan, pool, nullptr, 3, {readers});
    EpochOrder order;
    order.kind = OrderKind::kPermutation;
    order.num_records = files->size();
    std::size_t batches = 0;
    for (std::uint64_t start = 0; start < kRecords; start += kBatch, ++batches)
        decoder.submit(order, start, std::min<std::uint64_t>(kBatch, kRecords - start));
    try {
        for (std::size_t number = 0; number < batches; ++number) {
            if (number == cut_after) file.cut(left);
            std::optional<Batch> batch;
            while (!batch) batch = decoder.next(std::chrono::milliseconds(1000));
            check(as_written(*batch, file, plan), "a batch of a file that is cut holds what was written");
        }
    } catch (const FileError&) {
        return true;
    }
    return false;
}

}  // namespace

void test_lost_files() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const std::size_t size = kRecords * layout.record_bytes();
    for (const ReadMode mode : {ReadMode::kMmap, ReadMode::kPread})
        for (const int readers : {0, 5}) {
            if (mode == ReadMode::kMmap && readers > 0) continue;  // mapped files are not read ahead
            const CutFile whole(layout, kRecords);
            check(!read_and_cut(whole, whole.open(layout, mode), readers, 0, size), "a whole file is read");
            for (const std::size_t left :
                 {std::size_t{0}, size / 2, size - 1500, size - layout.record_bytes()})
                for (const std::size_t after : {0, 1, 7}) {
                    const CutFile file(layout, kRecords);
                    const auto files = file.open(layout, mode);
                    if (mode == ReadMode::kMmap && after != 1) files->populate();  // a thread of its own
                    read_and_cut(file, files, readers, after, left);
                    std::vector<std::uint8_t> pixels(layout.pixel_bytes());
                    const std::int64_t last[] = {kRecords - 1};
                    check_throws<FileError>([&] { files->images(last, 1, pixels.data()); },
                                            "the last record of a file that was cut");
                    file.cut(size);  // zeros in place of what is lost: the page stays marked where it was met
                }
        }
    // A mapping that is read by several threads while it loses its pages; guards come and go beside it.
    const CutFile file(layout, kRecords);
    const auto files = file.open(layout, ReadMode::kMmap);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            std::vector<std::uint8_t> pixels(layout.pixel_bytes());
            const CutFile other(layout, 3);
            for (int round = 0; round < 40; ++round) {
                if (i == 0 && round == 10) file.cut(layout.record_bytes());
                const auto beside = other.open(layout, ReadMode::kMmap);
                const std::int64_t wanted[] = {(round * 37 + i) % static_cast<std::int64_t>(kRecords)};
                try {
                    files->images(wanted, 1, pixels.data());
                    const std::uint8_t* written = file.bytes().data() + wanted[0] * layout.record_bytes();
                    check(std::equal(pixels.begin(), pixels.end(), written + kPixelOffset),
                          "images of a file that is cut are what was written");
                } catch (const FileError&) {
                }
            }
        });
    for (std::thread& thread : threads) thread.join();
}
