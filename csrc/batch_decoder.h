// Worker threads and the ring of batches: slices of an epoch go in, finished batches come out in order.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "buffer_pool.h"
#include "epoch_order.h"
#include "pixel_kernel.h"
#include "read_ahead.h"
#include "record_file.h"

namespace selfie {

// One finished batch. All pointers lead into one buffer, which lives as long as somebody holds `memory`.
struct Batch {
    std::shared_ptr<std::uint8_t> memory;
    std::size_t count = 0;
    std::int64_t* labels = nullptr;
    std::int64_t* record_ids = nullptr;
    std::int64_t* indices = nullptr;
    void* images = nullptr;
};

// The bytes of a buffer for `count` images and their labels, ids and indices.
std::size_t batch_bytes(const PixelPlan& plan, std::size_t count);

class BatchDecoder {
  public:
    // labels: null, or one per record to use instead of the stored ones; must outlive the decoder.
    // The pool's buffers must hold every slice that is submitted. Without reading ahead the workers read.
    BatchDecoder(std::shared_ptr<const RecordFiles> files, PixelPlan plan, std::shared_ptr<BufferPool> pool,
                 const std::int64_t* labels, int num_threads, ReadAheadOptions reading = {});
    // Waits for the workers. In a forked child, which has none, it releases nothing.
    ~BatchDecoder();
    BatchDecoder(const BatchDecoder&) = delete;
    BatchDecoder& operator=(const BatchDecoder&) = delete;

    // Queues positions start..start+count-1 of the order. Throws std::invalid_argument if they do not fit the
    // buffers or the files, std::runtime_error if closed.
    void submit(const EpochOrder& order, std::uint64_t start, std::size_t count);

    // The next batch in order of submission, or nothing if it is not finished in time. Rethrows its worker's
    // exception. Throws std::runtime_error if nothing was submitted, or closed.
    std::optional<Batch> next(std::chrono::milliseconds timeout);

    // Stops each worker after its current record. May be called twice, and from any thread.
    void close();

    const PixelPlan& plan() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selfie
