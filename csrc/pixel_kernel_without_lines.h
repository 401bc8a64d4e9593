// For instruction sets without masked loads and stores of a cache line: the pixel kernel calls none of these.
// Included by pixel_kernel_<isa>.cpp within its unnamed namespace.

constexpr bool kHasMaskedLoad = false;
constexpr bool kHasLineStores = false;

inline ByteVector masked_load(const std::uint8_t*, std::uint16_t) { return ByteVector(); }
template <bool kStream>
void store_line_bytes(const FloatVector*, std::uint8_t*) {}
inline void stream_line(const ByteVector*, std::uint8_t*) {}
