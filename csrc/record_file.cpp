#include "record_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <stdexcept>

namespace selfie {

namespace {

[[noreturn]] void throw_errno(const std::string& path) { throw FileError(errno, path); }

struct stat status_of(int descriptor, const std::string& path) {
    struct stat status;
    if (::fstat(descriptor, &status) != 0) throw_errno(path);
    if (!S_ISREG(status.st_mode)) throw std::invalid_argument(path + ": not a regular file");
    return status;
}

// A descriptor that reads past the page cache, or -1 where the file system cannot.
int open_direct(const std::string& path) {
#ifdef O_DIRECT
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
    if (descriptor < 0) return -1;
    alignas(RecordFiles::kSpanAlignment) std::uint8_t page[RecordFiles::kSpanAlignment];
    if (::pread(descriptor, page, sizeof page, 0) >= 0) return descriptor;
    ::close(descriptor);
#else
    static_cast<void>(path);
#endif
    return -1;
}

constexpr std::size_t kPollRecords = 64;  // so many may each be a page fault of a slow disk

// The first byte that a file no longer gives; `bytes` if it gives all.
std::uint64_t first_unreadable(int descriptor, std::uint64_t bytes) {
    std::uint8_t page[4096];
    for (std::uint64_t offset = 0; offset < bytes; offset += sizeof page)
        if (::pread(descriptor, page, sizeof page, static_cast<off_t>(offset)) <= 0) return offset;
    return bytes;
}

}  // namespace

RecordLayout make_layout(std::int64_t channels, std::int64_t height, std::int64_t width) {
    const auto in_range = [](std::int64_t side, std::int64_t limit) { return side >= 1 && side <= limit; };
    if (!in_range(channels, kMaxChannels) || !in_range(height, kMaxPlanePixels) ||
        !in_range(width, kMaxPlanePixels) || height * width > kMaxPlanePixels)
        throw std::invalid_argument("an image must have 1.." + std::to_string(kMaxChannels) +
                                    " channels of at most " + std::to_string(kMaxPlanePixels) +
                                    " pixels, got " + std::to_string(channels) + " x " +
                                    std::to_string(height) + " x " + std::to_string(width));
    return {static_cast<std::size_t>(channels), static_cast<std::size_t>(height),
            static_cast<std::size_t>(width)};
}

RecordFiles::RecordFiles(std::vector<std::string> paths, RecordLayout layout, std::uint32_t num_classes,
                         ReadMode mode)
    : layout_(layout), num_classes_(num_classes), mode_(mode), owner_(::getpid()) {
    if (paths.empty()) throw std::invalid_argument("a split needs at least one record file, got none");
    files_.reserve(paths.size());
    try {
        for (std::string& path : paths) {
            files_.push_back({std::move(path)});
            open(files_.back());
            begins_.push_back(begins_.back() + files_.back().bytes / layout_.record_bytes());
        }
    } catch (...) {
        close();  // the destructor of a half-made object does not run
        throw;
    }
}

RecordFiles::~RecordFiles() { close(); }

void RecordFiles::open(File& file) const {
    if (mode_ == ReadMode::kDirect) file.descriptor = open_direct(file.path);
    file.is_direct = file.descriptor >= 0;
    // O_NONBLOCK: a pipe would wait for its other end.
    if (!file.is_direct) file.descriptor = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file.descriptor < 0) throw_errno(file.path);
    const struct stat status = status_of(file.descriptor, file.path);
    file.place = std::filesystem::absolute(file.path).string();
    file.device = static_cast<std::uint64_t>(status.st_dev);
    file.inode = static_cast<std::uint64_t>(status.st_ino);
    file.bytes = static_cast<std::uint64_t>(status.st_size);
    const std::uint64_t surplus = file.bytes % layout_.record_bytes();
    if (file.bytes == 0 || surplus != 0)
        throw std::invalid_argument(
            file.path + ": a file of " + std::to_string(layout_.channels) + "x" +
            std::to_string(layout_.height) + "x" + std::to_string(layout_.width) +
            " images must have a positive multiple of " + std::to_string(layout_.record_bytes()) +
            " bytes, got " + std::to_string(file.bytes) +
            (surplus == 0 ? std::string()
                          : ": record " + std::to_string(file.bytes / layout_.record_bytes()) + " (byte " +
                                std::to_string(file.bytes - surplus) + ") is cut off after " +
                                std::to_string(surplus) + " bytes"));
    if (mode_ == ReadMode::kMmap) map(file);
}

void RecordFiles::map(File& file) const {
    void* mapping = ::mmap(nullptr, file.bytes, PROT_READ, MAP_SHARED, file.descriptor, 0);
    if (mapping == MAP_FAILED) throw_errno(file.path);
    file.mapping = static_cast<const std::uint8_t*>(mapping);
    file.guard = std::make_unique<MappingGuard>(file.mapping, file.bytes);
    ::close(std::exchange(file.descriptor, -1));
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t last_page = (file.bytes - 1) / page * page;
    file.probe = file.bytes - 1;
    while (file.probe > last_page && file.mapping[file.probe] == 0) --file.probe;
    file.probe_value = file.mapping[file.probe];
}

void RecordFiles::close() {
    stopping_ = true;
    if (populating_.joinable()) {
        if (::getpid() == owner_)
            populating_.join();
        else  // a forked child has no such thread, and may not say so to its object
            static_cast<void>(new std::thread(std::move(populating_)));
    }
    for (File& file : files_) {
        file.guard.reset();
        if (file.mapping != nullptr) ::munmap(const_cast<std::uint8_t*>(file.mapping), file.bytes);
        if (file.descriptor >= 0) ::close(file.descriptor);
    }
    files_.clear();
}

std::size_t RecordFiles::file_of(std::uint64_t index) const {
    const auto after = std::upper_bound(begins_.begin(), begins_.end(), index);
    return static_cast<std::size_t>(after - begins_.begin()) - 1;
}

const std::uint8_t* RecordFiles::record(std::uint64_t index, std::uint8_t* scratch) const {
    const std::size_t number = file_of(index);
    const File& file = files_[number];
    const std::size_t record_bytes = layout_.record_bytes();
    if (file.mapping != nullptr) return file.mapping + (index - begins_[number]) * record_bytes;
    if (!file.is_direct) return read(index, 1, scratch);
    const std::unique_ptr<std::uint8_t, decltype(&std::free)> room(
        static_cast<std::uint8_t*>(std::aligned_alloc(kSpanAlignment, span_bytes(1))), &std::free);
    if (room == nullptr) throw std::bad_alloc();
    std::memcpy(scratch, read(index, 1, room.get()), record_bytes);
    return scratch;
}

bool RecordFiles::is_direct() const {
    return std::all_of(files_.begin(), files_.end(), [](const File& file) { return file.is_direct; });
}

std::size_t RecordFiles::span_bytes(std::uint64_t count) const {
    const std::size_t bytes = static_cast<std::size_t>(count) * layout_.record_bytes();
    return (bytes / kSpanAlignment + 2) * kSpanAlignment;  // up to a page of others at both ends
}

const std::uint8_t* RecordFiles::read(std::uint64_t first, std::uint64_t count, std::uint8_t* room) const {
    const std::size_t number = file_of(first);
    const File& file = files_[number];
    const std::uint64_t begin = (first - begins_[number]) * layout_.record_bytes();
    const std::uint64_t end = begin + count * layout_.record_bytes();
    const std::uint64_t grain = file.is_direct ? kSpanAlignment : 1;
    const std::uint64_t from = begin / grain * grain;
    const std::uint64_t to = (end + grain - 1) / grain * grain;
    for (std::uint64_t done = from; done < end;) {
        const ssize_t got = ::pread(file.descriptor, room + (done - from),
                                    static_cast<std::size_t>(to - done), static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw_errno(file.path);
        done += static_cast<std::uint64_t>(got);
        const bool ended = got == 0 || done % grain != 0;  // a direct read is cut only by the file's end
        if (ended && done < end) throw_lost(number, std::max(done, begin));
    }
    return room + (begin - from);
}

Prefetch RecordFiles::prefetch(std::uint64_t index) const {
    return mode_ == ReadMode::kMmap ? Prefetch(record(index, nullptr), layout_.record_bytes()) : Prefetch();
}

void RecordFiles::expect_shuffled(bool shuffled) const {
    static const std::uint64_t memory_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                                              static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (mode_ != ReadMode::kMmap || size() * layout_.record_bytes() <= memory_bytes / 2) return;
    if (shuffled_.exchange(shuffled) == shuffled) return;
    for (const File& file : files_)
        ::madvise(const_cast<std::uint8_t*>(file.mapping), file.bytes,
                  shuffled ? MADV_RANDOM : MADV_NORMAL);  // a hint
}

void RecordFiles::expect_reads(std::uint64_t first, std::uint64_t count) const {
    // Hints. Linux cuts longer ones off at its read-ahead size.
    constexpr std::uint64_t kHintBytes = 128 << 10;
    while (count > 0) {
        const std::size_t number = file_of(first);
        const File& file = files_[number];
        const std::uint64_t run = std::min(count, begins_[number + 1] - first);
        const std::uint64_t begin = (first - begins_[number]) * layout_.record_bytes();
        const std::uint64_t end = begin + run * layout_.record_bytes();
        for (std::uint64_t offset = begin / kHintBytes * kHintBytes; offset < end; offset += kHintBytes) {
            const std::uint64_t bytes = std::min(kHintBytes, end - offset);
            if (file.mapping != nullptr)
                ::madvise(const_cast<std::uint8_t*>(file.mapping) + offset, bytes, MADV_WILLNEED);
#ifdef POSIX_FADV_WILLNEED
            else
                ::posix_fadvise(file.descriptor, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                                POSIX_FADV_WILLNEED);
#endif
        }
        first += run;
        count -= run;
    }
}

std::uint32_t RecordFiles::label(std::uint64_t index, const std::uint8_t* record) const {
    const std::uint32_t label = load_big_endian(record + kLabelOffset);
    const std::uint32_t limit = num_classes_ != 0 ? num_classes_ : kMaxClasses;
    if (label >= limit) {
        const std::size_t number = file_of(index);
        const std::uint64_t local = index - begins_[number];
        throw std::invalid_argument(files_[number].path + ": record " + std::to_string(local) + " (byte " +
                                    std::to_string(local * layout_.record_bytes() + kLabelOffset) +
                                    "): a label must be in 0.." + std::to_string(limit - 1) + ", got " +
                                    std::to_string(label));
    }
    return label;
}

void RecordFiles::headers(std::uint32_t* record_ids, std::int64_t* labels, std::function<void()> poll) const {
    check_sizes();
    std::vector<std::uint8_t> scratch(layout_.record_bytes());
    for (std::uint64_t index = 0; index < size(); ++index) {
        if (poll && index % kPollRecords == 0) poll();
        const std::uint8_t* bytes = record(index, scratch.data());
        record_ids[index] = load_big_endian(bytes + kRecordIdOffset);
        labels[index] = label(index, bytes);
    }
    check_sizes();
}

void RecordFiles::images(const std::int64_t* indices, std::size_t count, std::uint8_t* pixels,
                         std::function<void()> poll) const {
    check_sizes();
    std::vector<std::uint8_t> scratch(layout_.record_bytes());
    for (std::size_t i = 0; i < count; ++i) {
        if (poll && i % kPollRecords == 0) poll();
        check_index(indices[i]);
        const std::uint8_t* bytes = record(static_cast<std::uint64_t>(indices[i]), scratch.data());
        std::memcpy(pixels + i * layout_.pixel_bytes(), bytes + kPixelOffset, layout_.pixel_bytes());
    }
    check_sizes();
}

void RecordFiles::check_index(std::int64_t index) const {
    if (index < 0 || static_cast<std::uint64_t>(index) >= size())
        throw std::out_of_range("an index must be in 0.." + std::to_string(size() - 1) + ", got " +
                                std::to_string(index));
}

void RecordFiles::throw_lost(std::size_t number, std::uint64_t bytes) const {
    if (bytes >= files_[number].bytes)  // written over in place
        throw FileError(EIO, files_[number].path,
                        "was changed since the data set was opened; open the data set again");
    const std::uint64_t record = bytes / layout_.record_bytes();
    throw FileError(EIO, files_[number].path,
                    "had " + std::to_string(files_[number].bytes) + " bytes when it was opened: record " +
                        std::to_string(record) + " (byte " + std::to_string(record * layout_.record_bytes()) +
                        ") can no longer be read; open the data set again");
}

// The bytes that a mapped file still gives: where its path leads elsewhere, those before the first lost page
// that somebody met.
std::uint64_t RecordFiles::readable_bytes(const File& file) const {
    const int descriptor = ::open(file.place.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat there;
    std::uint64_t bytes = file.guard->failed() ? file.guard->first_failed() : file.probe;
    if (descriptor >= 0 && ::fstat(descriptor, &there) == 0 && is_of(file, there)) {
        bytes = static_cast<std::uint64_t>(there.st_size);
        // The size is right again, or a hole cannot be filled, or the disk fails: find the page by its copy.
        if (bytes >= file.bytes) bytes = first_unreadable(descriptor, file.bytes);
        if (bytes >= file.bytes && file.guard->failed()) bytes = file.guard->first_failed();
    }
    if (descriptor >= 0) ::close(descriptor);
    return bytes;
}

void RecordFiles::check_sizes() const {
    for (std::size_t number = 0; number < files_.size(); ++number) {
        const File& file = files_[number];
        if (file.guard == nullptr) {
            const auto bytes = static_cast<std::uint64_t>(status_of(file.descriptor, file.path).st_size);
            if (bytes < file.bytes) throw_lost(number, bytes);
            continue;
        }
        const std::uint8_t value = *static_cast<const volatile std::uint8_t*>(file.mapping + file.probe);
        if (value != file.probe_value || file.guard->failed()) throw_lost(number, readable_bytes(file));
    }
}

void RecordFiles::check_places() const {
    for (const File& file : files_) {
        struct stat there;
        if (::stat(file.place.c_str(), &there) != 0) throw_errno(file.path);
        if (!is_of(file, there))
            throw FileError(ESTALE, file.path,
                            "was replaced since the data set was opened; open the data set again");
    }
}

void RecordFiles::populate_file(const File& file) const {
    constexpr std::uint64_t kStep = std::uint64_t{2} << 20;
    constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ, since Linux 5.14
    for (std::uint64_t begin = 0; begin < file.bytes && !stopping_; begin += kStep) {
        auto* place = const_cast<std::uint8_t*>(file.mapping) + begin;
        const std::uint64_t bytes = std::min(kStep, file.bytes - begin);
        if (::madvise(place, bytes, kPopulateRead) != 0) return;  // decoding meets the pages one by one
    }
}

void RecordFiles::populate() const {
    if (mode_ != ReadMode::kMmap) return;
    const std::lock_guard lock(populate_mutex_);
    if (populating_.joinable() || ::getpid() != owner_) return;
    try {
        populating_ = std::thread([this] {
            for (const File& file : files_) populate_file(file);
        });
    } catch (const std::system_error&) {  // no thread to be had: decoding meets the pages one by one
    }
}

}  // namespace selfie
