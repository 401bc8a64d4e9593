#include "pixel_kernel.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace selfie {

extern const PixelKernel kPixelKernel_generic;
#if defined(__x86_64__)
extern const PixelKernel kPixelKernel_avx2;
extern const PixelKernel kPixelKernel_avx512;
#elif defined(__aarch64__)
extern const PixelKernel kPixelKernel_neon;
#endif

namespace {

// Widest first; null ends the list.
const PixelKernel* const kPresent[] = {
#if defined(__x86_64__)
    __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("fma")
        ? &kPixelKernel_avx512
        : nullptr,
    __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kPixelKernel_avx2 : nullptr,
#elif defined(__aarch64__)
    &kPixelKernel_neon,
#endif
    &kPixelKernel_generic,
};

}  // namespace

const PixelKernel& pixel_kernel() {
    const char* asked = std::getenv("SELFIE_IO_ISA");
    std::string present;
    for (const PixelKernel* kernel : kPresent) {
        if (kernel == nullptr) continue;
        if (asked == nullptr || *asked == '\0' || std::string(asked) == kernel->isa) return *kernel;
        present += std::string(present.empty() ? "" : ", ") + kernel->isa;
    }
    throw std::invalid_argument("SELFIE_IO_ISA must be one that this processor has (" + present + "), got " +
                                asked);
}

}  // namespace selfie
