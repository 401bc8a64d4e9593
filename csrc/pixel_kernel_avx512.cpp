// The pixel kernel for avx512; CMakeLists.txt gives this file its compiler flags.
#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_avx512;
const PixelKernel kPixelKernel_avx512 = {"avx512", decode, picture_map};

}  // namespace selfie
