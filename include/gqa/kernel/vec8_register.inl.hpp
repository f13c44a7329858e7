// 8 lanes in one AVX register: loads and fma, the highest lane; sums and transposition in vec8_shuffle.inl.hpp.
typedef float vec8 __attribute__((vector_size(32)));

GQA_INLINE vec8 load8(const float* p) { return _mm256_loadu_ps(p); }
GQA_INLINE vec8 scale8(vec8 x, float y) { return x * y; }
GQA_INLINE void store8(float* p, vec8 x) { _mm256_storeu_ps(p, x); }
GQA_INLINE vec8 fma8(vec8 a, vec8 b, vec8 c) { return _mm256_fmadd_ps(a, b, c); }

/// x, in a register: GCC would rather load it anew for each use, and loads would bind.
GQA_INLINE vec8 hold8(vec8 x) {
  asm("" : "+v"(x));
  return x;
}

template <element E>
GQA_INLINE vec8 widen8(const char* p) {
  if constexpr (E == element::f32) return _mm256_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  if constexpr (E == element::bf16) {  // both halves get all 8, and each shifts its 4 into place: one operation a load
    const __m256i high = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                          -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    return (vec8)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p)), high);
  }
}

GQA_INLINE float highest_lane8(vec8 x) {
  vec8 y = _mm256_max_ps(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
  y = _mm256_max_ps(y, __builtin_shufflevector(y, y, 2, 3, 0, 1, 6, 7, 4, 5));
  return _mm256_max_ps(y, __builtin_shufflevector(y, y, 1, 0, 3, 2, 5, 4, 7, 6))[0];
}

#include "vec8_shuffle.inl.hpp"
