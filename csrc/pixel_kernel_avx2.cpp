// The pixel kernel for avx2; CMakeLists.txt gives this file its compiler flags.
#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_avx2;
const PixelKernel kPixelKernel_avx2 = {"avx2", decode, picture_map};

}  // namespace selfie
