// The pixel kernel for neon; CMakeLists.txt gives this file its compiler flags.
#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_neon;
const PixelKernel kPixelKernel_neon = {"neon", decode, picture_map};

}  // namespace selfie
