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

using Staging = std::vector<std::uint8_t>;

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
        // Only if records are read ahead:
        std::vector<std::int64_t> indices;
        Staging records;            // record_bytes each, one after the other
        std::size_t next_read = 0;  // records[0..next_read) are asked for
        std::size_t unread = 0;     // not there yet
    };

    State(std::shared_ptr<const RecordFiles> files_in, PixelPlan plan_in, std::shared_ptr<BufferPool> pool_in,
          const std::int64_t* labels_in, bool reads_ahead_in)
        : files(std::move(files_in)),
          plan(std::move(plan_in)),
          pool(std::move(pool_in)),
          labels(labels_in),
          reads_ahead(reads_ahead_in) {}

    void decode(Job& job, std::vector<std::uint8_t>& record_scratch, ImageDecoder& decoder) {
        files->expect_shuffled(job.order.kind != OrderKind::kSequential);
        job.order.read_ahead(
            job.start, job.count, job.is_first,
            [&](std::uint64_t first, std::uint64_t records) { files->read_ahead(first, records); });
        Batch batch = make_batch(pool->acquire(), job.count);
        if (reads_ahead)
            std::copy(job.indices.begin(), job.indices.end(), batch.indices);
        else
            job.order.indices(job.start, job.count, batch.indices);
        auto* images = static_cast<std::uint8_t*>(batch.images);
        const std::size_t record_bytes = plan.layout.record_bytes();
        for (std::size_t i = 0; i < job.count; ++i) {
            if (stopping) return;
            const auto index = static_cast<std::uint64_t>(batch.indices[i]);
            Prefetch coming;
            const std::size_t ahead = i + RecordFiles::kAhead;
            if (ahead < job.count)
                coming = reads_ahead ? Prefetch(job.records.data() + ahead * record_bytes, record_bytes)
                                     : files->prefetch(static_cast<std::uint64_t>(batch.indices[ahead]));
            const std::uint8_t* record = reads_ahead ? job.records.data() + i * record_bytes
                                                     : files->record(index, record_scratch.data());
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

    bool can_take() const { return taken < jobs.size() && jobs[taken].unread == 0; }

    void work() {
        std::vector<std::uint8_t> record_scratch(plan.layout.record_bytes());
        ImageDecoder decoder(plan, pool.get());
        std::unique_lock lock(mutex);
        for (;;) {
            work_ready.wait(lock, [&] { return stopping || can_take(); });
            if (stopping) return;
            Job& job = jobs[taken++];
            lock.unlock();
            try {
                if (!job.error) decode(job, record_scratch, decoder);
            } catch (...) {
                job.error = std::current_exception();
            }
            lock.lock();
            if (reads_ahead) spare_staging.push_back(std::move(job.records));
            job.done = true;
            batch_ready.notify_all();
            if (can_take()) work_ready.notify_one();
        }
    }

    // Readers take one record after the other, of one job after the other.
    void read() {
        std::unique_lock lock(mutex);
        for (;;) {
            read_ready.wait(lock, [&] { return stopping || reading < jobs.size(); });
            if (stopping) return;
            Job& job = jobs[reading];
            if (job.next_read == job.count) {
                ++reading;
                continue;
            }
            const std::size_t i = job.next_read++;
            lock.unlock();
            std::exception_ptr error;
            try {
                files->record(static_cast<std::uint64_t>(job.indices[i]),
                              job.records.data() + i * plan.layout.record_bytes());
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error && !job.error) job.error = error;
            if (--job.unread == 0) work_ready.notify_one();
        }
    }

    // Names the job's records and makes room for them. Under the mutex.
    void prepare(Job& job) {
        job.indices.resize(job.count);
        job.order.indices(job.start, job.count, job.indices.data());
        if (!spare_staging.empty()) {
            job.records = std::move(spare_staging.back());
            spare_staging.pop_back();
        }
        job.records.resize(job.count * plan.layout.record_bytes());
        job.unread = job.count;
    }

    const std::shared_ptr<const RecordFiles> files;
    const PixelPlan plan;
    const std::shared_ptr<BufferPool> pool;
    const std::int64_t* const labels;
    const bool reads_ahead;
    const pid_t owner = ::getpid();

    // Guards jobs, submitted, taken, reading, spare_staging, what of a job several threads touch and, to
    // change it, stopping.
    std::mutex mutex;
    std::condition_variable work_ready;
    std::condition_variable read_ready;
    std::condition_variable batch_ready;
    std::deque<Job> jobs;
    bool submitted = false;
    std::size_t taken = 0;    // jobs[0..taken) are with a worker or done
    std::size_t reading = 0;  // jobs[0..reading) are asked for
    std::vector<Staging> spare_staging;
    std::atomic<bool> stopping = false;

    std::mutex join_mutex;
    std::vector<std::thread> threads;
};

BatchDecoder::BatchDecoder(std::shared_ptr<const RecordFiles> files, PixelPlan plan,
                           std::shared_ptr<BufferPool> pool, const std::int64_t* labels, int num_threads,
                           int read_depth)
    : state_(std::make_unique<State>(std::move(files), std::move(plan), std::move(pool), labels,
                                     read_depth > 0)) {
    if (num_threads < 1)
        throw std::invalid_argument("num_threads must be positive, got " + std::to_string(num_threads));
    check_augment(state_->plan.augment, state_->plan.layout);
    MappingGuard::install();
    state_->files->check_sizes();
    try {
        for (int i = 0; i < num_threads; ++i)
            state_->threads.emplace_back([state = state_.get()] { state->work(); });
        for (int i = 0; i < read_depth; ++i)
            state_->threads.emplace_back([state = state_.get()] { state->read(); });
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
        State::Job& job = state_->jobs.emplace_back();
        job.order = order;
        job.start = start;
        job.count = count;
        job.is_first = !state_->submitted;
        state_->submitted = true;
        if (state_->reads_ahead) state_->prepare(job);
    }
    state_->read_ready.notify_all();
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
    if (state_->reading > 0) --state_->reading;
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
    state_->read_ready.notify_all();
    state_->batch_ready.notify_all();
    const std::lock_guard lock(state_->join_mutex);
    for (std::thread& thread : state_->threads)
        if (thread.joinable()) thread.join();
}

const PixelPlan& BatchDecoder::plan() const { return state_->plan; }

}  // namespace selfie
