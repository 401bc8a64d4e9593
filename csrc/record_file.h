// Opens, checks and reads one set of record files. The destructor releases everything.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "mapping_guard.h"
#include "prefetch.h"
#include "record.h"

namespace selfie {

enum class ReadMode {
    kMmap,    // no descriptor stays open
    kPread,   // through the page cache
    kDirect,  // past the page cache where the file system allows it
};

// Throws std::invalid_argument if a side is not positive or too large.
RecordLayout make_layout(std::int64_t channels, std::int64_t height, std::int64_t width);

// A system call on a file failed, or (with a detail) the file is no longer what it was.
class FileError : public std::system_error {
  public:
    FileError(int error, std::string path, std::string detail = {})
        : std::system_error(error, std::generic_category(), path + (detail.empty() ? "" : ": " + detail)),
          path_(std::move(path)),
          detail_(std::move(detail)) {}
    const std::string& path() const { return path_; }
    const std::string& detail() const { return detail_; }

  private:
    std::string path_;
    std::string detail_;
};

class RecordFiles {
  public:
    // num_classes 0: unknown; labels must then be below kMaxClasses.
    // Throws FileError if a file cannot be opened, std::invalid_argument if its size is not
    // a positive multiple of the record's. Reads a page of each file at most, and no record.
    RecordFiles(std::vector<std::string> paths, RecordLayout layout, std::uint32_t num_classes,
                ReadMode mode);
    ~RecordFiles();
    RecordFiles(const RecordFiles&) = delete;
    RecordFiles& operator=(const RecordFiles&) = delete;

    const RecordLayout& layout() const { return layout_; }
    std::uint64_t size() const { return begins_.back(); }

    // Whether all files are read past the page cache.
    bool is_direct() const;
    bool is_mapped() const { return mode_ == ReadMode::kMmap; }

    // The bytes of a record: mapped, or read into scratch (record_bytes long). index < size(), unchecked.
    // Thread-safe. Throws FileError or std::invalid_argument if the file can no longer be read.
    const std::uint8_t* record(std::uint64_t index, std::uint8_t* scratch) const;

    // Reads a run of records, all in one file, at once; not for mapped files. Returns the first one's bytes
    // in room, which has span_bytes(count) and is aligned to kSpanAlignment. Unchecked and throws as
    // record().
    const std::uint8_t* read(std::uint64_t first, std::uint64_t count, std::uint8_t* room) const;
    static constexpr std::size_t kSpanAlignment = 4096;  // what reads past the page cache ask for
    std::size_t span_bytes(std::uint64_t count) const;

    // The records from this one to the end of its file.
    std::uint64_t rest_of_file(std::uint64_t index) const { return begins_[file_of(index) + 1] - index; }

    // A mapped record's bytes, to prefetch; nothing if not mapped. index < size(), unchecked. No hardware
    // predicts the next record of a shuffle, so callers prefetch the record kAhead positions on.
    static constexpr std::size_t kAhead = 3;
    Prefetch prefetch(std::uint64_t index) const;

    // Tells the system whether records are read in another order than on disk. Files larger than half of the
    // memory are then read page by page: the system's read-ahead around a page would evict pages that are
    // needed.
    void expect_shuffled(bool shuffled) const;

    // Tells the system that records will be read soon, so that it reads them from the disk now. They must lie
    // below size().
    void expect_reads(std::uint64_t first, std::uint64_t count) const;

    // The label of a record's bytes. Throws std::invalid_argument, naming file, record and byte, if out of
    // range.
    std::uint32_t label(std::uint64_t index, const std::uint8_t* record) const;

    // The id and label of every record: size() values each. Touches every record. Throws as label() does.
    // `poll` is called now and then; what it throws ends the call.
    void headers(std::uint32_t* record_ids, std::int64_t* labels, std::function<void()> poll = nullptr) const;

    // The pixels of the records named, one after the other. Throws std::out_of_range for an index outside
    // 0..size()-1.
    void images(const std::int64_t* indices, std::size_t count, std::uint8_t* pixels,
                std::function<void()> poll = nullptr) const;

    // Throws std::out_of_range unless 0 <= index < size().
    void check_index(std::int64_t index) const;

    // Throws FileError, with record and byte, if a file shrank since it was opened or a read of its mapping
    // failed. Bytes of a mapping may be used only if it does not throw after they were read.
    void check_sizes() const;

    // Throws FileError if another file has taken the place of one since it was opened.
    void check_places() const;

    // Reads all mapped pages in the background, in the order of the files: a first epoch then has no page
    // faults. Later calls do nothing.
    void populate() const;

  private:
    struct File {
        std::string path;
        std::string place = {};  // the absolute path
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        std::uint64_t bytes = 0;
        int descriptor = -1;  // closed once the file is mapped
        bool is_direct = false;
        const std::uint8_t* mapping = nullptr;
        std::unique_ptr<MappingGuard> guard = nullptr;
        // The last byte of the mapping that is not zero, or one of the last page. A cut of the file takes its
        // page, or makes it zero, or loses nothing but zeros, which a mapping gives all the same.
        std::uint64_t probe = 0;
        std::uint8_t probe_value = 0;
    };

    void open(File& file) const;
    void map(File& file) const;
    static bool is_of(const File& file, const struct stat& status) {
        return static_cast<std::uint64_t>(status.st_dev) == file.device &&
               static_cast<std::uint64_t>(status.st_ino) == file.inode;
    }
    std::uint64_t readable_bytes(const File& file) const;
    [[noreturn]] void throw_lost(std::size_t number, std::uint64_t bytes) const;
    void populate_file(const File& file) const;
    void close();
    std::size_t file_of(std::uint64_t index) const;

    RecordLayout layout_;
    std::uint32_t num_classes_;
    ReadMode mode_;
    std::vector<File> files_;
    std::vector<std::uint64_t> begins_ = {0};    // index of each file's first record; the last is the total
    mutable std::atomic<bool> shuffled_{false};  // the last hint given to the system
    mutable std::mutex populate_mutex_;
    mutable std::thread populating_;
    mutable std::atomic<bool> stopping_{false};
    pid_t owner_;  // of the thread
};

}  // namespace selfie
