#include "buffer_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace selfie {

namespace {

// 0 if unknown. Read from the system's files: in virtual machines sysconf() may answer ten times too much.
std::size_t last_level_cache_bytes() {
    std::size_t kibibytes = 0;
    std::ifstream("/sys/devices/system/cpu/cpu0/cache/index3/size") >> kibibytes;
    return kibibytes * 1024;
}

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The bytes to map for a buffer: whole huge pages, if it fills at least one.
std::size_t in_pages(std::size_t bytes) {
    return bytes < kHugePage ? bytes : (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// Fresh memory. From kHugePage bytes on it is aligned to kHugePage, as huge pages need.
std::uint8_t* map_memory(std::size_t bytes) {
    const std::size_t room = bytes < kHugePage ? 0 : kHugePage;
    void* mapped = ::mmap(nullptr, bytes + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    auto* begin = static_cast<std::uint8_t*>(mapped);
    if (room == 0) return begin;
    const std::size_t before = (room - reinterpret_cast<std::uintptr_t>(begin) % room) % room;
    if (before > 0) ::munmap(begin, before);
    ::munmap(begin + before + bytes, room - before);
#ifdef MADV_HUGEPAGE
    ::madvise(begin + before, bytes, MADV_HUGEPAGE);  // a hint: not every kernel follows it
#endif
    return begin + before;
}

}  // namespace

struct BufferPool::Spares {
    Spares(std::size_t bytes, std::size_t most) : buffer_bytes(bytes), most_spare(most) {}

    ~Spares() {
        for (std::uint8_t* buffer : buffers) ::munmap(buffer, in_pages(buffer_bytes));
    }

    std::uint8_t* take() {
        {
            const std::lock_guard lock(mutex);
            if (!buffers.empty()) {
                std::uint8_t* buffer = buffers.back();
                buffers.pop_back();
                return buffer;
            }
        }
        return map_memory(in_pages(buffer_bytes));
    }

    void give_back(std::uint8_t* buffer) {
        // A forked child may have inherited a locked mutex, so it only unmaps its own copy.
        if (::getpid() == owner) {
            const std::lock_guard lock(mutex);
            if (buffers.size() < most_spare) {
                buffers.push_back(buffer);  // room was reserved: cannot throw
                return;
            }
        }
        ::munmap(buffer, in_pages(buffer_bytes));
    }

    const std::size_t buffer_bytes;
    const std::size_t most_spare;
    const pid_t owner = ::getpid();
    std::mutex mutex;
    std::vector<std::uint8_t*> buffers;
};

BufferPool::BufferPool(std::size_t buffer_bytes, std::size_t spare_buffers)
    : spares_(std::make_shared<Spares>(buffer_bytes, spare_buffers)) {
    spares_->buffers.reserve(spare_buffers);
}

std::size_t BufferPool::buffer_bytes() const { return spares_->buffer_bytes; }

bool BufferPool::exceeds_caches() const {
    static const std::size_t cache_bytes = last_level_cache_bytes();
    return cache_bytes > 0 && spares_->buffer_bytes * spares_->most_spare > cache_bytes / 2;
}

std::shared_ptr<std::uint8_t> BufferPool::acquire() {
    return {spares_->take(), [spares = spares_](std::uint8_t* buffer) { spares->give_back(buffer); }};
}

}  // namespace selfie
