// Tests of the core without Python and without a framework: for sanitizers, and for processors that this
// machine does not have (an emulator runs it). Exit status 0, or a line per failure.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "batch_decoder.h"

using namespace selfie;

namespace {

int failures = 0;

void check(bool good, const std::string& what) {
    if (good) return;
    ++failures;
    std::printf("FAILED: %s\n", what.c_str());
}

template <class Error, class Call>
void check_throws(Call call, const std::string& what) {
    try {
        call();
    } catch (const Error&) {
        return;
    }
    check(false, what + " must be refused");
}

// A file of records whose pixels are a simple function of record and place, removed at the end.
class RecordFile {
  public:
    RecordFile(const RecordLayout& layout, std::size_t records, std::uint32_t label = 3) {
        char name[] = "/tmp/selfie_core_test_XXXXXX";
        const int descriptor = ::mkstemp(name);
        path_ = name;
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

PixelPlan make_plan(const RecordLayout& layout) {
    PixelPlan plan;
    plan.layout = layout;
    plan.augment.crop_height = static_cast<std::int64_t>(layout.height);
    plan.augment.crop_width = static_cast<std::int64_t>(layout.width);
    return plan;
}

// The rounding of one value, told slowly: the nearest of the two neighbours that the type has.
std::uint32_t rounded(float value, PixelType type) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (type == PixelType::kFloat32) return bits;
    if (type == PixelType::kUint8)
        return static_cast<std::uint32_t>(std::nearbyint(std::min(std::max(value, 0.0f), 255.0f)));
    if (type == PixelType::kBfloat16) {
        const std::uint32_t low = bits & 0xFFFFu;
        const bool up = low > 0x8000u || (low == 0x8000u && (bits >> 16 & 1u) != 0);
        return (bits >> 16) + (up ? 1 : 0);
    }
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const double size = std::fabs(static_cast<double>(value));
    if (size >= 65520) return sign | 0x7C00u;
    int exponent = 0;
    std::frexp(size, &exponent);
    const int step = std::max(exponent - 11, -24);  // half has 11 bits, and none below 2^-24
    const auto units = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, -step)));
    if (step == -24) return sign | units;  // subnormal, or the first normal number
    return sign | ((static_cast<std::uint32_t>(step + 24) << 10) + units);
}

// One finished value, told slowly: pad, crop, flip, fmaf, round, cutout.
std::uint32_t expected(const PixelPlan& plan, const std::uint8_t* pixels, const Draw& draw,
                       const float* scale, const float* shift, std::size_t c, std::int64_t y,
                       std::int64_t x) {
    const auto height = static_cast<std::int64_t>(plan.layout.height);
    const auto width = static_cast<std::int64_t>(plan.layout.width);
    const std::int64_t side = plan.augment.cutout;
    if (side > 0 && y >= draw.cutout_top && y < draw.cutout_top + side && x >= draw.cutout_left &&
        x < draw.cutout_left + side)
        return 0;
    std::int64_t row = draw.top + y;
    std::int64_t column = draw.left + (draw.flip ? plan.augment.crop_width - 1 - x : x);
    std::uint8_t value = 0;
    if (plan.augment.pad_mode == PadMode::kReflect) {
        row = row < 0 ? -row : row < height ? row : 2 * (height - 1) - row;
        column = column < 0 ? -column : column < width ? column : 2 * (width - 1) - column;
    }
    if (row >= 0 && row < height && column >= 0 && column < width)
        value = pixels[c * plan.layout.plane_bytes() + static_cast<std::size_t>(row * width + column)];
    return rounded(std::fma(static_cast<float>(value), scale[c], shift[c]), plan.type);
}

void check_picture(const PixelPlan& plan, const std::uint8_t* pixels, std::uint64_t index, bool stream) {
    const Draw draw = draw_augmentation(plan.augment, plan.layout, 7, 1, index);
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    // Exactly the room that there is in a batch, aligned as there: a sanitizer sees every byte too many.
    const std::size_t bytes = (plan.picture_bytes() + 63) / 64 * 64;
    auto* out = static_cast<std::uint8_t*>(std::aligned_alloc(64, bytes));
    std::memset(out, 0xAB, bytes);
    float scale[kMaxChannels];
    float shift[kMaxChannels];
    const PixelKernel& kernel = pixel_kernel();
    kernel.picture_map(plan, pixels, draw, scratch.data(), scale, shift);
    kernel.decode(plan, pixels, draw, scratch.data(), stream, out);
    kernel.settle();
    const std::size_t value_bytes = pixel_type_bytes(plan.type);
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < plan.layout.channels; ++c)
        for (std::int64_t y = 0; y < plan.augment.crop_height; ++y)
            for (std::int64_t x = 0; x < plan.augment.crop_width; ++x) {
                const auto pixel = static_cast<std::size_t>(y * plan.augment.crop_width + x);
                const std::size_t place =
                    plan.channels_last ? pixel * plan.layout.channels + c : c * plan.crop_pixels() + pixel;
                std::uint32_t got = 0;
                std::memcpy(&got, out + place * value_bytes, value_bytes);
                wrong += got != expected(plan, pixels, draw, scale, shift, c, y, x);
            }
    for (std::size_t i = plan.picture_bytes(); i < bytes; ++i) wrong += out[i] != 0xAB;
    check(wrong == 0, std::to_string(wrong) + " values of " + std::to_string(plan.layout.channels) + "x" +
                          std::to_string(plan.layout.height) + "x" + std::to_string(plan.layout.width) +
                          " type " + std::to_string(static_cast<int>(plan.type)) +
                          (plan.channels_last ? " NHWC" : " NCHW") + (stream ? " streamed" : ""));
    std::free(out);
}

void test_pixels() {
    const std::vector<std::vector<std::int64_t>> shapes = {{3, 32, 32}, {1, 28, 28}, {3, 9, 17}, {4, 5, 20},
                                                           {2, 3, 4},   {5, 1, 1},   {3, 64, 64}};
    for (const auto& shape : shapes) {
        const RecordLayout layout = make_layout(shape[0], shape[1], shape[2]);
        std::vector<std::uint8_t> pixels(layout.pixel_bytes());
        for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i + i / 7);
        for (int number = 0; number < 64; ++number) {
            PixelPlan plan = make_plan(layout);
            plan.type = static_cast<PixelType>(number % 4);
            plan.channels_last = number & 4;
            plan.augment.flip = FlipMode::kRandom;
            const std::int64_t least = std::min(shape[1], shape[2]);
            plan.augment.pad_mode = number & 8 ? PadMode::kReflect : PadMode::kZeros;
            plan.augment.pad = number & 16 ? std::min<std::int64_t>(4, least - 1) : 0;
            if (number & 32) {
                plan.augment.crop_width = std::max<std::int64_t>(1, shape[2] - 1);
                plan.augment.contrast_low = 0.2;
                plan.augment.contrast_high = 1.8;
                plan.augment.brightness = 63;
                plan.augment.cutout = 3;
                plan.normalize.mode = NormalizeMode::kPerImage;
            } else {
                plan.normalize.mode = NormalizeMode::kPerChannel;
                plan.normalize.mean.assign(layout.channels, 0.47);
                plan.normalize.std.assign(layout.channels, number & 1 ? 0.25 : 1e-6);
            }
            for (std::uint64_t index = 0; index < 4; ++index) {
                check_picture(plan, pixels.data(), index, false);
                if (plan.can_stream()) check_picture(plan, pixels.data(), index, true);
            }
        }
    }
}

void test_sums() {
    // PerImage of a picture that is half 0, half 255: mean 127.5, deviation 127.5, so -1 and 1.
    PixelPlan plan = make_plan(make_layout(1, 300, 300));
    plan.normalize.mode = NormalizeMode::kPerImage;
    std::vector<std::uint8_t> pixels(90000);
    std::fill(pixels.begin() + 45000, pixels.end(), std::uint8_t{255});
    std::vector<std::uint8_t> scratch(plan.scratch_bytes());
    float scale = 0;
    float shift = 0;
    pixel_kernel().picture_map(plan, pixels.data(), Draw(), scratch.data(), &scale, &shift);
    check(scale == static_cast<float>(1 / 127.5) && shift == -1.0f, "sums over more than 2^16 pixels");
}

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
void test_read_ahead() {
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
            order.read_ahead(position, count, position == start,
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
                              std::size_t batch_size) {
    auto pool = std::make_shared<BufferPool>(batch_bytes(plan, batch_size), 3);
    BatchDecoder decoder(files, plan, pool, nullptr, threads);
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

void test_decoder() {
    const RecordLayout layout = make_layout(3, 32, 32);
    const RecordFile file(layout, 200);
    PixelPlan plan = make_plan(layout);
    plan.augment.pad = 4;
    plan.augment.flip = FlipMode::kRandom;
    plan.normalize.mode = NormalizeMode::kPerImage;
    const std::vector<Batch> alone = decode_all(file.open(layout, ReadMode::kMmap), plan, 1, 7);
    for (const int threads : {2, 5})
        for (const ReadMode mode : {ReadMode::kMmap, ReadMode::kPread}) {
            const std::vector<Batch> shared = decode_all(file.open(layout, mode), plan, threads, 7);
            bool same = alone.size() == shared.size();
            for (std::size_t i = 0; same && i < alone.size(); ++i)
                same = std::memcmp(alone[i].images, shared[i].images,
                                   alone[i].count * plan.picture_bytes()) == 0 &&
                       std::equal(alone[i].indices, alone[i].indices + alone[i].count, shared[i].indices) &&
                       shared[i].record_ids[0] == (shared[i].indices[0] + 1) % 256;
            check(same, "batches do not depend on threads or on how files are read");
        }
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
            kept = decoder.next(std::chrono::milliseconds(1000));
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
    check_throws<FileError>([] { RecordFiles({"/nonexistent"}, make_layout(1, 1, 1), 0, ReadMode::kMmap); },
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

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::strcmp(arguments[1], "--isas") == 0) return list_isas();
    test_pixels();
    test_sums();
    test_orders();
    test_read_ahead();
    test_decoder();
    test_pool();
    test_closing();
    test_errors();
    std::printf("%s: %s\n", pixel_kernel().isa, failures == 0 ? "all passed" : "failed");
    return failures == 0 ? 0 : 1;
}
