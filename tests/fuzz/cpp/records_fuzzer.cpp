// Fuzzes record files: hostile shapes and sizes, any bytes as records, a file that is cut while it is read.
// Only std::invalid_argument, std::out_of_range and FileError may come out; no image may hold other bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "batch_decoder.h"
#include "fuzz_input.h"

using namespace selfie;

namespace {

constexpr std::size_t kMaxImages = 1 << 20;  // bytes: larger ones only cost time

// The bytes as a file without a place on the disk.
class MemoryFile {
  public:
    MemoryFile(const std::uint8_t* bytes, std::size_t count) : descriptor_(::memfd_create("fuzz", 0)) {
        if (descriptor_ < 0 || ::write(descriptor_, bytes, count) != static_cast<ssize_t>(count))
            std::abort();
    }
    ~MemoryFile() { ::close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
    void cut(std::size_t bytes) const {
        if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) std::abort();
    }

  private:
    int descriptor_;
};

void read_all(FuzzInput& input) {
    const RecordLayout layout = make_layout(input.size(1, 4), input.size(1, 9), input.size(1, 9));
    const auto num_classes = static_cast<std::uint32_t>(input.size(0, 12));
    const ReadMode mode = input.flag() ? ReadMode::kMmap : ReadMode::kPread;
    const bool cuts = input.flag();
    const auto left = input.take<std::uint16_t>();
    const auto threads = static_cast<int>(input.take<std::uint8_t>() % 3) + 1;
    const bool ahead = input.flag() && mode == ReadMode::kPread;  // mapped files are not read ahead
    const std::int64_t wanted[] = {input.size(0, 20), input.size(0, 20)};
    const auto batch = static_cast<std::size_t>(input.take<std::uint8_t>() % 7) + 1;

    const MemoryFile file(input.bytes(), input.left());
    auto files =
        std::make_shared<RecordFiles>(std::vector<std::string>{file.path()}, layout, num_classes, mode);
    expect(files->size() * layout.record_bytes() == input.left(), "all records of a file are counted");
    if (cuts) {
        if (mode == ReadMode::kMmap) files->populate();
        file.cut(std::min<std::size_t>(left, input.left()));
    }
    const auto pixels_of = [&](std::int64_t index) {
        return input.bytes() + static_cast<std::size_t>(index) * layout.record_bytes() + kPixelOffset;
    };
    std::vector<std::uint8_t> pixels(2 * layout.pixel_bytes());
    try {
        files->images(wanted, 2, pixels.data());
        for (std::size_t i = 0; i < 2; ++i)
            expect(std::equal(pixels_of(wanted[i]), pixels_of(wanted[i]) + layout.pixel_bytes(),
                              pixels.begin() + static_cast<std::ptrdiff_t>(i * layout.pixel_bytes())),
                   "images hold the bytes of the file");
    } catch (const std::out_of_range&) {
    }
    std::vector<std::uint32_t> ids(files->size());
    std::vector<std::int64_t> labels(files->size());
    try {
        files->headers(ids.data(), labels.data());
        for (const std::int64_t label : labels)
            expect(
                label >= 0 && label < static_cast<std::int64_t>(num_classes == 0 ? kMaxClasses : num_classes),
                "labels name a class");
    } catch (const std::invalid_argument&) {
    }

    PixelPlan plan;
    plan.layout = layout;
    plan.type = PixelType::kUint8;
    plan.augment.crop_height = static_cast<std::int64_t>(layout.height);
    plan.augment.crop_width = static_cast<std::int64_t>(layout.width);
    if (plan.images_bytes(batch) > kMaxImages) return;
    auto pool = std::make_shared<BufferPool>(batch_bytes(plan, batch), 2);
    BatchDecoder decoder(files, plan, pool, nullptr, threads, {ahead ? 4 : 0});
    EpochOrder order;
    order.kind = OrderKind::kPermutation;
    order.num_records = files->size();
    std::size_t submitted = 0;
    for (std::uint64_t start = 0; start < files->size() && submitted < 8; start += batch, ++submitted)
        decoder.submit(order, start, std::min<std::uint64_t>(batch, files->size() - start));
    while (submitted-- > 0) {
        std::optional<Batch> made;
        while (!made) made = decoder.next(std::chrono::milliseconds(1000));
        for (std::size_t i = 0; i < made->count; ++i)
            expect(std::equal(pixels_of(made->indices[i]), pixels_of(made->indices[i]) + layout.pixel_bytes(),
                              static_cast<const std::uint8_t*>(made->images) + i * plan.image_bytes()),
                   "batches hold the bytes of the file");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
    FuzzInput input(bytes, count);
    try {
        read_all(input);
    } catch (const FileError&) {
    } catch (const std::invalid_argument&) {
    }
    return 0;
}
