// One element to f32: exact for every storage type.

/// What may be read together with 8 elements: the 8 that follow, those before, or neither.
enum class neighbour { none, next, previous };

template <element E>
inline constexpr int size_of = E == element::f32 ? 4 : 2;

template <element E>
GQA_INLINE float widen_one(const char* p) {
  float x;
  if constexpr (E == element::f32) {
    __builtin_memcpy(&x, p, 4);
  } else {
    std::uint16_t half;
    __builtin_memcpy(&half, p, 2);
    const std::uint32_t bits = E == element::f16 ? f32_bits_from_f16(half) : f32_bits_from_bf16(half);
    __builtin_memcpy(&x, &bits, 4);
  }
  return x;
}
