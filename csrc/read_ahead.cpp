#include "read_ahead.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "buffer_pool.h"

namespace selfie {

// Records that are read together: runs of neighbours, one of each file that they lie in. Its fields are
// guarded by the reader's mutex, except what is read: that is the reading thread's, and then constant.
struct ReadAheadBlock {
    struct Run {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
        const std::uint8_t* bytes = nullptr;  // of the first record
    };
    enum class Stage { kQueued, kReading, kRead };

    std::vector<Run> runs;
    Stage stage = Stage::kQueued;
    int users = 0;  // slices, and the windows that keep it
    std::vector<ReadAhead::Slice*> waiting;
    std::shared_ptr<std::uint8_t> room;
    std::exception_ptr error;

    const std::uint8_t* record(std::uint64_t index, std::size_t record_bytes) const {
        for (const Run& run : runs)
            if (index >= run.first && index - run.first < run.count)
                return run.bytes + static_cast<std::size_t>(index - run.first) * record_bytes;
        return nullptr;
    }
};

namespace {

using Block = std::shared_ptr<ReadAheadBlock>;

// A window in file order has this many blocks: enough for the reads of a disk's queue.
constexpr std::uint64_t kSequentialWindow = 16;
// Blocks beyond two windows: those that are read while the last slices of a window are decoded.
constexpr std::size_t kSlack = 8;

// Buffers that are cut from slabs of huge pages: a read into one needs few entries of the disk's request,
// which here doubles the rate. They return with their last owner, from any thread.
class SlabPool {
  public:
    explicit SlabPool(std::size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}

    std::size_t buffer_bytes() const { return buffer_bytes_; }

    std::shared_ptr<std::uint8_t> acquire() {
        const std::lock_guard lock(held_->mutex);
        if (held_->spare.empty()) {
            const std::size_t buffers = std::max<std::size_t>(kSlabBytes / buffer_bytes_, 1);
            held_->slabs.push_back(BufferPool(buffers * buffer_bytes_, 0).acquire());
            held_->spare.reserve(held_->slabs.size() * buffers);  // so that returning cannot throw
            for (std::size_t i = buffers; i-- > 0;)
                held_->spare.push_back(held_->slabs.back().get() + i * buffer_bytes_);
        }
        std::uint8_t* buffer = held_->spare.back();
        held_->spare.pop_back();
        return {buffer, [held = held_](std::uint8_t* returned) {
                    const std::lock_guard returning(held->mutex);
                    held->spare.push_back(returned);
                }};
    }

  private:
    static constexpr std::size_t kSlabBytes = std::size_t{16} << 20;
    struct Held {
        std::mutex mutex;
        std::vector<std::uint8_t*> spare;
        std::vector<std::shared_ptr<std::uint8_t>> slabs;
    };
    std::size_t buffer_bytes_;
    std::shared_ptr<Held> held_ = std::make_shared<Held>();
};

}  // namespace

struct ReadAhead::State {
    State(std::shared_ptr<const RecordFiles> files_in, ReadAheadOptions options_in,
          std::function<void()> ready_in)
        : files(std::move(files_in)), options(options_in), ready(std::move(ready_in)) {}

    // The rest is called under the mutex.

    void add_run(ReadAheadBlock& block, std::uint64_t first, std::uint64_t count) const {
        while (count > 0) {
            const std::uint64_t run = std::min(count, files->rest_of_file(first));
            block.runs.push_back({first, run});
            first += run;
            count -= run;
        }
    }

    // Of another epoch than before: its blocks are others.
    void begin(const EpochOrder& order) {
        if (blocks && EpochBlocks(order) == *blocks) return;
        forget_windows(UINT64_MAX);
        blocks.emplace(order);
        window_places =
            order.kind == OrderKind::kQuasi ? order.window_records / order.block_records : kSequentialWindow;
        first_window = next_window = 0;
        most_buffers = 2 * static_cast<std::size_t>(window_places) + kSlack;
        if (!pool) pool.emplace(files->span_bytes(order.block_records));
    }

    // Queues the blocks of a window, to be read when there is room.
    void open_window(std::uint64_t window) {
        const std::uint64_t end = std::min((window + 1) * window_places, blocks->num_places());
        for (std::uint64_t place = window * window_places; place < end; ++place) {
            auto block = std::make_shared<ReadAheadBlock>();
            blocks->visit_place(
                place, [&](std::uint64_t first, std::uint64_t count) { add_run(*block, first, count); });
            block->users = 1;
            kept.emplace(place, block);
            ahead.push_back(std::move(block));
        }
    }

    void forget_windows(std::uint64_t before) {
        for (auto it = kept.begin(); it != kept.end();) {
            if (it->first / window_places < before) {
                leave(*it->second);
                it = kept.erase(it);
            } else {
                ++it;
            }
        }
    }

    // The blocks of a slice: of the windows that it lies in. The window after them is queued, too.
    void find_blocks(Slice& slice) {
        std::vector<std::uint64_t> places;
        places.reserve(slice.indices.size());
        for (const std::int64_t index : slice.indices)
            places.push_back(blocks->place(static_cast<std::uint64_t>(index)));
        if (places.empty()) return;
        const auto [low, high] = std::minmax_element(places.begin(), places.end());
        const std::uint64_t first = *low / window_places;
        const std::uint64_t last = *high / window_places;
        if (first < first_window) {  // back in the epoch
            forget_windows(UINT64_MAX);
            next_window = first;
        }
        first_window = first;
        next_window = std::max(next_window, first);
        for (; next_window <= last + 1; ++next_window) open_window(next_window);
        for (const std::uint64_t place : places) slice.blocks.push_back(kept.at(place));
        forget_windows(first);
    }

    void single_records(Slice& slice) {
        if (!pool) pool.emplace(files->span_bytes(1));
        for (const std::int64_t index : slice.indices) {
            slice.blocks.push_back(std::make_shared<ReadAheadBlock>());
            slice.blocks.back()->runs.push_back({static_cast<std::uint64_t>(index), 1});
        }
    }

    // Somebody stops using the block: the last one gives its buffer back.
    void leave(ReadAheadBlock& block) {
        if (--block.users > 0 || !block.room) return;
        block.room.reset();
        --buffers;
        read_ready.notify_one();
    }

    // The next block to read, or none: those that a slice waits for, then others while there is room.
    Block next() {
        const auto pop = [](std::deque<Block>& queue) {
            while (!queue.empty()) {
                Block block = std::move(queue.front());
                queue.pop_front();
                if (block->stage == ReadAheadBlock::Stage::kQueued && block->users > 0) return block;
            }
            return Block();
        };
        Block block = pop(needed);
        if (!block && buffers < most_buffers) block = pop(ahead);
        return block;
    }

    // Without the mutex. Returns the buffer.
    std::shared_ptr<std::uint8_t> read(ReadAheadBlock& block) {
        std::size_t bytes = 0;
        for (const ReadAheadBlock::Run& run : block.runs) bytes += files->span_bytes(run.count);
        std::shared_ptr<std::uint8_t> room =
            bytes <= pool->buffer_bytes() ? pool->acquire() : BufferPool(bytes, 0).acquire();
        std::uint8_t* place = room.get();
        for (ReadAheadBlock::Run& run : block.runs) {
            run.bytes = files->read(run.first, run.count, place);
            place += files->span_bytes(run.count);
        }
        return room;
    }

    void work() {
        std::unique_lock lock(mutex);
        for (;;) {
            Block block;
            read_ready.wait(lock, [&] { return stopping || (block = next()) != nullptr; });
            if (stopping) return;
            block->stage = ReadAheadBlock::Stage::kReading;
            ++buffers;
            lock.unlock();
            std::shared_ptr<std::uint8_t> room;
            std::exception_ptr error;
            try {
                room = read(*block);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            block->stage = ReadAheadBlock::Stage::kRead;
            block->error = error;
            bool completes = false;
            for (Slice* slice : block->waiting) completes |= --slice->unread == 0;
            block->waiting.clear();
            if (!error && block->users > 0) {
                block->room = std::move(room);
            } else {  // nobody will give this buffer back
                room.reset();
                --buffers;
                read_ready.notify_one();
            }
            if (!completes) continue;
            lock.unlock();
            ready();
            lock.lock();
        }
    }

    const std::shared_ptr<const RecordFiles> files;
    const ReadAheadOptions options;
    const std::function<void()> ready;

    mutable std::mutex mutex;
    std::condition_variable read_ready;
    bool stopping = false;
    std::deque<Block> needed;
    std::deque<Block> ahead;
    std::size_t buffers = 0;  // that hold or receive a block
    std::optional<SlabPool> pool;
    std::vector<std::thread> threads;

    // Of the order of the last slice; only with blocks:
    std::optional<EpochBlocks> blocks;
    std::uint64_t window_places = 1;
    std::uint64_t first_window = 0;  // those before are forgotten
    std::uint64_t next_window = 0;   // those before are opened
    std::size_t most_buffers = 0;
    std::unordered_map<std::uint64_t, Block> kept;  // by place
};

ReadAhead::ReadAhead(std::shared_ptr<const RecordFiles> files, ReadAheadOptions options,
                     std::function<void()> ready)
    : state_(std::make_unique<State>(std::move(files), options, std::move(ready))) {
    if (state_->files->is_mapped())
        throw std::invalid_argument(
            "records are read ahead from files that are read, got mapped files; "
            "give a depth of 0, or open the files by ReadMode::kPread or kDirect");
    try {
        for (int i = 0; i < options.depth; ++i)
            state_->threads.emplace_back([state = state_.get()] { state->work(); });
    } catch (...) {
        close();  // the system refused a thread: the running ones must not outlive the state
        throw;
    }
}

ReadAhead::~ReadAhead() { close(); }

std::unique_ptr<ReadAhead::Slice> ReadAhead::request(const EpochOrder& order, std::uint64_t start,
                                                     std::size_t count) {
    auto slice = std::make_unique<Slice>();
    slice->indices.resize(count);
    order.indices(start, count, slice->indices.data());
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->options.blocks && order.has_blocks()) {
            state_->begin(order);
            state_->find_blocks(*slice);
        } else {
            state_->single_records(*slice);
        }
        // Each block counts once, however many of its records are used.
        for (const Block& block : slice->blocks) {
            ++block->users;
            if (block->stage == ReadAheadBlock::Stage::kRead) continue;
            if (!block->waiting.empty() && block->waiting.back() == slice.get()) continue;
            block->waiting.push_back(slice.get());
            ++slice->unread;
            if (block->stage == ReadAheadBlock::Stage::kQueued) state_->needed.push_back(block);
        }
    }
    state_->read_ready.notify_all();
    return slice;
}

bool ReadAhead::is_complete(const Slice& slice) const {
    const std::lock_guard lock(state_->mutex);
    return slice.unread == 0;
}

void ReadAhead::take(Slice& slice) const {
    const std::size_t record_bytes = state_->files->layout().record_bytes();
    slice.records.reserve(slice.indices.size());
    for (std::size_t i = 0; i < slice.indices.size(); ++i) {
        const ReadAheadBlock& block = *slice.blocks[i];
        if (block.error) std::rethrow_exception(block.error);
        slice.records.push_back(block.record(static_cast<std::uint64_t>(slice.indices[i]), record_bytes));
    }
}

void ReadAhead::release(Slice& slice) {
    const std::lock_guard lock(state_->mutex);
    for (const Block& block : slice.blocks) state_->leave(*block);
    slice.blocks.clear();
}

void ReadAhead::close() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->read_ready.notify_all();
    for (std::thread& thread : state_->threads)
        if (thread.joinable()) thread.join();
}

}  // namespace selfie
