// The roof: streaming stores of the bytes of a batch, nothing else. Speaks the protocol of rivals/serving.py.
// roof BYTES THREADS
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include <sys/mman.h>

namespace {

constexpr std::size_t kBuffers = 32;

void store(std::uint8_t* to, std::size_t bytes, int value) {
#if defined(__SSE2__)
    const __m128i values = _mm_set1_epi32(value);
    for (std::size_t i = 0; i + 16 <= bytes; i += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), values);
    _mm_sfence();
#else
    std::memset(to, value, bytes);
#endif
}

}  // namespace

int main(int, char** arguments) {
    const std::size_t bytes = std::strtoull(arguments[1], nullptr, 10);
    const std::size_t threads = std::strtoull(arguments[2], nullptr, 10);
    void* mapped =
        ::mmap(nullptr, kBuffers * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return 1;
#ifdef MADV_HUGEPAGE
    ::madvise(mapped, kBuffers * bytes, MADV_HUGEPAGE);
#endif
    auto* memory = static_cast<std::uint8_t*>(mapped);
    std::memset(memory, 1, kBuffers * bytes);
    std::puts("{\"ready\": \"\"}");
    std::fflush(stdout);
    std::size_t batches;
    while (std::scanf("%zu", &batches) == 1) {
        const auto start = std::chrono::steady_clock::now();
        std::vector<std::thread> workers;
        for (std::size_t worker = 0; worker < threads; ++worker)
            workers.emplace_back([=] {
                for (std::size_t batch = worker; batch < batches; batch += threads)
                    store(memory + batch % kBuffers * bytes, bytes, static_cast<int>(batch));
            });
        for (std::thread& worker : workers) worker.join();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::printf("{\"seconds\": %.9f}\n", seconds.count());
        std::fflush(stdout);
    }
}
