// Memory for batches, used again once nobody holds it: writing into fresh pages costs several times the
// decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace selfie {

class BufferPool {
  public:
    // Keeps at most spare_buffers that are not in use; the rest goes back to the system.
    BufferPool(std::size_t buffer_bytes, std::size_t spare_buffers);

    std::size_t buffer_bytes() const;

    // Whether the spare buffers together fill more than half of the last-level cache: then they push each
    // other out of it, for the rest is what others on the machine leave of it.
    bool exceeds_caches() const;

    // Memory of buffer_bytes(), aligned to a page. It returns to the pool when the last owner lets go, from
    // any thread, even after the pool has gone. Thread-safe. Throws std::bad_alloc.
    std::shared_ptr<std::uint8_t> acquire();

  private:
    struct Spares;
    std::shared_ptr<Spares> spares_;
};

}  // namespace selfie
