// Worker threads and the ring of batches: slices of an epoch go in, finished batches come out in the same
// order.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "buffer_pool.h"
#include "epoch_order.h"
#include "pixel_kernel.h"
#include "record_file.h"

namespace selfie {

// One finished batch. Everything lies in one buffer, which lives as long as somebody holds `memory`.
struct Batch {
    std::shared_ptr<std::uint8_t> memory;
    std::size_t count = 0;
    std::int64_t* labels = nullptr;
    std::int64_t* record_ids = nullptr;
    std::int64_t* indices = nullptr;
    void* images = nullptr;
};

// The bytes of a buffer that holds `count` pictures and what belongs to them.
std::size_t batch_bytes(const PixelPlan& plan, std::size_t count);

// The scale and shift that the decoder would use for each record: float32[count][channels] each. For backends
// that do the pixel work elsewhere. Throws std::out_of_range for an index outside the files.
void picture_maps(const RecordFiles& files, const PixelPlan& plan, std::uint64_t seed, std::uint64_t epoch,
                  const std::int64_t* indices, std::size_t count, float* scale, float* shift);

class BatchDecoder {
  public:
    // labels: null, or one per record to use instead of the stored ones; must outlive the decoder.
    // The pool's buffers must hold every slice that is submitted.
    BatchDecoder(std::shared_ptr<const RecordFiles> files, PixelPlan plan, std::shared_ptr<BufferPool> pool,
                 const std::int64_t* labels, int num_threads);
    // Waits for the workers; in a forked child, which has none, it lets go of everything instead.
    ~BatchDecoder();
    BatchDecoder(const BatchDecoder&) = delete;
    BatchDecoder& operator=(const BatchDecoder&) = delete;

    // Queues positions start..start+count-1 of the order. Throws std::invalid_argument if they do not fit the
    // buffers or the files, std::runtime_error if closed.
    void submit(const EpochOrder& order, std::uint64_t start, std::size_t count);

    // The next batch in order of submission, or nothing if it is not finished in time. Rethrows what its
    // worker threw. Throws std::runtime_error if nothing was submitted, or closed.
    std::optional<Batch> next(std::chrono::milliseconds timeout);

    // Stops after the records in hand. May be called twice, and from any thread.
    void close();

    const PixelPlan& plan() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selfie
