// Reads records before they are needed: threads with one read each, into buffers of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "epoch_order.h"
#include "record_file.h"

namespace selfie {

struct ReadAheadOptions {
    int depth = 0;  // reads at once; 0: nothing is read ahead
    // Whole blocks of the order, those of the next window while one is used, in a memory of little more than
    // two windows; false: record by record. Only for orders that have blocks.
    bool blocks = false;
};

class ReadAhead {
  public:
    // The records of a slice of an epoch.
    struct Slice {
        std::vector<std::int64_t> indices;
        std::vector<const std::uint8_t*> records;  // set by take()

      private:
        friend class ReadAhead;
        std::vector<std::shared_ptr<struct ReadAheadBlock>> blocks;
        std::size_t unread = 0;  // blocks that are not there yet
        std::exception_ptr error;
    };

    // ready: called without locks, by a reader, when a slice that was not complete becomes complete.
    // Throws std::invalid_argument if the files are mapped: those have no descriptor to read from.
    ReadAhead(std::shared_ptr<const RecordFiles> files, ReadAheadOptions options,
              std::function<void()> ready);
    ~ReadAhead();
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;

    // Begins to read positions start..start+count-1 of the order, which lie within it.
    std::unique_ptr<Slice> request(const EpochOrder& order, std::uint64_t start, std::size_t count);

    bool is_complete(const Slice& slice) const;

    // The bytes of the slice's records, until release(). Rethrows the error of a read. Only if complete.
    void take(Slice& slice) const;
    void release(Slice& slice);

    // Stops each reader after its current read. May be called twice, but not by two threads at once.
    void close();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selfie
