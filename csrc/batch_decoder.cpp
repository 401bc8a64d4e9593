#include "batch_decoder.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "image_decoder.h"

namespace selfie {

namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, as streaming stores need

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Batch make_batch(std::shared_ptr<std::uint8_t> memory, std::size_t count) {
    Batch batch;
    std::uint8_t* place = memory.get();
    const auto numbers = [&] {
        auto* begin = reinterpret_cast<std::int64_t*>(place);
        place += aligned(count * sizeof(std::int64_t));
        return begin;
    };
    batch.labels = numbers();
    batch.record_ids = numbers();
    batch.indices = numbers();
    batch.images = place;
    batch.count = count;
    batch.memory = std::move(memory);
    return batch;
}

}  // namespace

std::size_t batch_bytes(const PixelPlan& plan, std::size_t count) {
    return 3 * aligned(count * sizeof(std::int64_t)) + aligned(plan.images_bytes(count));
}

struct BatchDecoder::State {
    // A slice: queued, perhaps read ahead, then taken by one worker, then done. Deque elements never move.
    struct Job {
        EpochOrder order;
        std::uint64_t start = 0;
        std::size_t count = 0;
        bool is_first = false;  // of all that were submitted
        bool done = false;
        Batch batch;
        std::exception_ptr error;
        std::unique_ptr<ReadAhead::Slice> slice;  // only if records are read ahead
    };

    State(std::shared_ptr<const RecordFiles> files_in, PixelPlan plan_in, std::shared_ptr<BufferPool> pool_in,
          const std::int64_t* labels_in)
        : files(std::move(files_in)), plan(std::move(plan_in)), pool(std::move(pool_in)), labels(labels_in) {}

    void decode(Job& job, std::vector<std::uint8_t>& record_scratch, ImageDecoder& decoder) {
        Batch batch = make_batch(pool->acquire(), job.count);
        const ReadAhead::Slice* slice = job.slice.get();
        if (slice != nullptr) {
            ahead->take(*job.slice);
            std::copy(slice->indices.begin(), slice->indices.end(), batch.indices);
        } else {
            files->expect_shuffled(job.order.kind != OrderKind::kSequential);
            job.order.visit_coming(
                job.start, job.count, job.is_first,
                [&](std::uint64_t first, std::uint64_t records) { files->expect_reads(first, records); });
            job.order.indices(job.start, job.count, batch.indices);
        }
        auto* images = static_cast<std::uint8_t*>(batch.images);
        const std::size_t record_bytes = plan.layout.record_bytes();
        for (std::size_t i = 0; i < job.count; ++i) {
            if (stopping) return;
            const auto index = static_cast<std::uint64_t>(batch.indices[i]);
            Prefetch coming;
            const std::size_t next = i + RecordFiles::kAhead;
            if (next < job.count)
                coming = slice != nullptr ? Prefetch(slice->records[next], record_bytes)
                                          : files->prefetch(static_cast<std::uint64_t>(batch.indices[next]));
            const std::uint8_t* record =
                slice != nullptr ? slice->records[i] : files->record(index, record_scratch.data());
            const std::uint32_t stored = files->label(index, record);
            batch.labels[i] = labels != nullptr ? labels[index] : stored;
            batch.record_ids[i] = load_big_endian(record + kRecordIdOffset);
            decoder.decode(record + kPixelOffset, {job.order.seed, job.order.epoch, index}, coming, i,
                           job.count, images);
        }
        decoder.finish();
        files->check_sizes();  // else some of the bytes may have been zeros in place of a lost page
        job.batch = std::move(batch);
    }

    // A forked child has no workers and may have inherited a locked mutex: it would wait for ever.
    bool is_owner() const { return ::getpid() == owner; }

    void check_owner() const {
        if (!is_owner())
            throw std::runtime_error("an iteration does not survive a fork: begin a new one in the child");
    }

    bool can_take() const {
        return taken < jobs.size() && (!jobs[taken].slice || ahead->is_complete(*jobs[taken].slice));
    }

    void work() {
        std::vector<std::uint8_t> record_scratch(plan.layout.record_bytes());
        ImageDecoder decoder(plan, pool.get());
        std::unique_lock lock(mutex);
        for (;;) {
            work_ready.wait(lock, [&] { return stopping || can_take(); });
            if (stopping) return;
            Job& job = jobs[taken++];
            if (can_take()) work_ready.notify_one();
            lock.unlock();
            try {
                decode(job, record_scratch, decoder);
            } catch (...) {
                job.error = std::current_exception();
            }
            if (job.slice) ahead->release(*job.slice);
            lock.lock();
            job.done = true;
            batch_ready.notify_all();
            if (can_take()) work_ready.notify_one();
        }
    }

    const std::shared_ptr<const RecordFiles> files;
    const PixelPlan plan;
    const std::shared_ptr<BufferPool> pool;
    const std::int64_t* const labels;
    const pid_t owner = ::getpid();

    // Guards jobs, submitted, taken, what of a job several threads touch and, to change it, stopping.
    std::mutex mutex;
    std::condition_variable work_ready;
    std::condition_variable batch_ready;
    std::deque<Job> jobs;
    bool submitted = false;
    std::size_t taken = 0;  // jobs[0..taken) are with a worker or done
    std::atomic<bool> stopping = false;

    std::unique_ptr<ReadAhead> ahead;  // null: the workers read. Its readers end before the jobs

    std::mutex join_mutex;
    std::vector<std::thread> threads;
};

BatchDecoder::BatchDecoder(std::shared_ptr<const RecordFiles> files, PixelPlan plan,
                           std::shared_ptr<BufferPool> pool, const std::int64_t* labels, int num_threads,
                           ReadAheadOptions reading)
    : state_(std::make_unique<State>(std::move(files), std::move(plan), std::move(pool), labels)) {
    if (num_threads < 1)
        throw std::invalid_argument("num_threads must be positive, got " + std::to_string(num_threads));
    check_augment(state_->plan.augment, state_->plan.layout);
    MappingGuard::install();
    state_->files->check_sizes();
    try {
        if (reading.depth > 0)
            state_->ahead = std::make_unique<ReadAhead>(state_->files, reading, [state = state_.get()] {
                const std::lock_guard lock(state->mutex);
                state->work_ready.notify_one();
            });
        for (int i = 0; i < num_threads; ++i)
            state_->threads.emplace_back([state = state_.get()] { state->work(); });
    } catch (...) {
        close();  // the system refused a thread: the running ones must not outlive the state
        throw;
    }
}

BatchDecoder::~BatchDecoder() {
    if (state_->is_owner())
        close();
    else  // the threads do not exist here, and the mutex may stay locked for ever
        static_cast<void>(state_.release());
}

void BatchDecoder::submit(const EpochOrder& order, std::uint64_t start, std::size_t count) {
    state_->check_owner();
    order.check();
    if (order.num_records != state_->files->size() || start > order.length() ||
        count > order.length() - start)
        throw std::invalid_argument("a slice must lie within the epoch of " +
                                    std::to_string(state_->files->size()) + " records, got " +
                                    std::to_string(count) + " at " + std::to_string(start));
    if (batch_bytes(state_->plan, count) > state_->pool->buffer_bytes())
        throw std::invalid_argument("a slice must fit the pool's buffers, got " + std::to_string(count) +
                                    " records");
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->stopping) throw std::runtime_error("the decoder is closed");
        std::unique_ptr<ReadAhead::Slice> slice;
        if (state_->ahead) slice = state_->ahead->request(order, start, count);
        State::Job& job = state_->jobs.emplace_back();
        job.slice = std::move(slice);
        job.order = order;
        job.start = start;
        job.count = count;
        job.is_first = !state_->submitted;
        state_->submitted = true;
    }
    state_->work_ready.notify_one();
}

std::optional<Batch> BatchDecoder::next(std::chrono::milliseconds timeout) {
    state_->check_owner();
    std::unique_lock lock(state_->mutex);
    if (state_->jobs.empty() && !state_->stopping) throw std::runtime_error("no batch was submitted");
    const bool ready = state_->batch_ready.wait_for(lock, timeout, [&] {
        return state_->stopping || (!state_->jobs.empty() && state_->jobs.front().done);
    });
    if (state_->stopping) throw std::runtime_error("the decoder is closed");
    if (!ready) return std::nullopt;
    State::Job job = std::move(state_->jobs.front());
    state_->jobs.pop_front();
    --state_->taken;
    lock.unlock();
    if (job.error) std::rethrow_exception(job.error);
    return std::move(job.batch);
}

void BatchDecoder::close() {
    if (!state_->is_owner()) return;
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->work_ready.notify_all();
    state_->batch_ready.notify_all();
    const std::lock_guard lock(state_->join_mutex);
    for (std::thread& thread : state_->threads)
        if (thread.joinable()) thread.join();
    if (state_->ahead) state_->ahead->close();
}

const PixelPlan& BatchDecoder::plan() const { return state_->plan; }

}  // namespace selfie
