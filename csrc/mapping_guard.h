// Turns SIGBUS on a guarded mapping into a mark: a file that was cut, or whose disk fails, must end in an
// error and never in a signal.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace selfie {

// While it lives, a failed read of the mapping gives zeros and sets `failed`, and the page stays zero:
// whoever reads the mapping looks at `failed` before the bytes are used. The first guards install the signal
// handler; faults elsewhere go to the handler that was there before.
class MappingGuard {
  public:
    MappingGuard(const std::uint8_t* begin, std::size_t bytes);
    ~MappingGuard();
    MappingGuard(const MappingGuard&) = delete;
    MappingGuard& operator=(const MappingGuard&) = delete;

    bool failed() const { return failed_.load(std::memory_order_relaxed); }

    // The offset of the lowest page that failed; only if failed().
    std::size_t first_failed() const { return first_failed_.load(std::memory_order_relaxed); }

    // Installs the handler again, if somebody else replaced it.
    static void install();

    // Marks the mapping that holds the address, and puts a page of zeros there. For the handler.
    static bool absorb(std::uintptr_t address);

  private:
    void fail(std::uintptr_t page);

    std::uintptr_t begin_;
    std::uintptr_t end_;
    std::atomic<bool> failed_{false};
    std::atomic<std::size_t> first_failed_{SIZE_MAX};
};

}  // namespace selfie
