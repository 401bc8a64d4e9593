// Recycled memory for batches. Buffers are reused, so the steady state has no page faults, which would cost
// several times the decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace selfie {

class BufferPool {
  public:
    // Keeps at most spare_buffers unused buffers; returns the rest to the system.
    BufferPool(std::size_t buffer_bytes, std::size_t spare_buffers);

    std::size_t buffer_bytes() const;

    // Whether the spare buffers together exceed half of the last-level cache. Then they evict each other. We
    // count half, because other processes use the rest.
    bool exceeds_caches() const;

    // Memory of buffer_bytes(), aligned to a page. It returns to the pool with its last owner, from any
    // thread, even after the pool's destruction. Thread-safe. Throws std::bad_alloc.
    std::shared_ptr<std::uint8_t> acquire();

  private:
    struct Spares;
    std::shared_ptr<Spares> spares_;
};

}  // namespace selfie
