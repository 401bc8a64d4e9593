// The pixel kernel for generic; CMakeLists.txt gives this file its compiler flags.
#include "pixel_kernel_body.h"

namespace selfie {

extern const PixelKernel kPixelKernel_generic;
const PixelKernel kPixelKernel_generic = {"generic", decode, picture_map};

}  // namespace selfie
