#include "mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <mutex>

namespace selfie {

namespace {

// The handler may run at any time, in any thread: it only reads these atomics. A slot is taken and left under
// the mutex; the table grows by blocks that are never freed.
struct Slot {
    std::atomic<MappingGuard*> guard{nullptr};
    std::atomic<int> readers{0};
};
constexpr std::size_t kBlockSlots = 1024;
struct Block {
    Slot slots[kBlockSlots];
    std::atomic<Block*> next{nullptr};
};

Block first_block;
std::mutex table_mutex;
struct sigaction previous;
std::atomic<bool> forwarded{false};
long page_bytes = 4096;

// TSan takes mmap for a write that races with the readers of the page. They look at the mark afterwards.
#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#define SELFIE_UNWATCHED_BEGIN AnnotateIgnoreWritesBegin(__FILE__, __LINE__)
#define SELFIE_UNWATCHED_END AnnotateIgnoreWritesEnd(__FILE__, __LINE__)
#else
#define SELFIE_UNWATCHED_BEGIN static_cast<void>(0)
#define SELFIE_UNWATCHED_END static_cast<void>(0)
#endif

bool put_zeros(void* place, std::size_t bytes) {
    SELFIE_UNWATCHED_BEGIN;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    const bool done = ::mmap(place, bytes, PROT_READ, flags, -1, 0) != MAP_FAILED;
    SELFIE_UNWATCHED_END;
    return done;
}

void forward(int signal, siginfo_t* information, void* context) {
    // A second time: the handler before us handed the signal back. Then the default ends the process.
    if (forwarded.exchange(true)) {
        ::signal(signal, SIG_DFL);
        return;
    }
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr)
        return previous.sa_sigaction(signal, information, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN && previous.sa_handler != nullptr)
        return previous.sa_handler(signal);
    ::signal(signal, SIG_DFL);  // the access is repeated, and ends the process as without us
}

void handle(int signal, siginfo_t* information, void* context) {
    if (!MappingGuard::absorb(reinterpret_cast<std::uintptr_t>(information->si_addr)))
        forward(signal, information, context);
}

template <class Visit>
void for_slots(Visit visit) {
    for (Block* block = &first_block; block != nullptr; block = block->next.load(std::memory_order_acquire))
        for (Slot& slot : block->slots)
            if (visit(slot)) return;
}

}  // namespace

void MappingGuard::install() {
    const std::lock_guard lock(table_mutex);
    struct sigaction current;
    if (::sigaction(SIGBUS, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) != 0 &&
        current.sa_sigaction == handle)
        return;
    page_bytes = ::sysconf(_SC_PAGESIZE);
    previous = current;
    struct sigaction ours = {};
    ours.sa_sigaction = handle;
    ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    ::sigemptyset(&ours.sa_mask);
    ::sigaction(SIGBUS, &ours, nullptr);
}

MappingGuard::MappingGuard(const std::uint8_t* begin, std::size_t bytes)
    : begin_(reinterpret_cast<std::uintptr_t>(begin)), end_(begin_ + bytes) {
    install();
    const std::lock_guard lock(table_mutex);
    for (Block* block = &first_block;; block = block->next.load()) {
        for (Slot& slot : block->slots)
            if (slot.guard.load() == nullptr) {
                slot.guard.store(this, std::memory_order_release);
                return;
            }
        if (block->next.load() == nullptr) block->next.store(new Block, std::memory_order_release);
    }
}

MappingGuard::~MappingGuard() {
    const std::lock_guard lock(table_mutex);
    for_slots([&](Slot& slot) {
        if (slot.guard.load() != this) return false;
        slot.guard.store(nullptr);
        while (slot.readers.load() != 0) {  // a handler looks at this guard: for another mapping, and shortly
        }
        return true;
    });
}

void MappingGuard::fail(std::uintptr_t page) {
    const std::size_t offset = page > begin_ ? page - begin_ : 0;
    std::size_t lowest = first_failed_.load();
    while (offset < lowest && !first_failed_.compare_exchange_weak(lowest, offset)) {
    }
    failed_.store(true);
}

bool MappingGuard::absorb(std::uintptr_t address) {
    bool found = false;
    for_slots([&](Slot& slot) {
        slot.readers.fetch_add(1);
        MappingGuard* guard = slot.guard.load();
        if (guard != nullptr && address >= guard->begin_ && address < guard->end_) {
            const auto page = static_cast<std::uintptr_t>(page_bytes);
            guard->fail(address / page * page);  // first: another thread may read the zeros at once
            found = put_zeros(reinterpret_cast<void*>(address / page * page), page);
        }
        slot.readers.fetch_sub(1);
        return found;
    });
    return found;
}

}  // namespace selfie
