// 8 lanes in one AVX register: loads and fma, the highest lane; sums and transposition in vec8_shuffle.inl.hpp. How
// elements widen is the target's own.
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

GQA_INLINE float highest_lane8(vec8 x) {
  vec8 y = _mm256_max_ps(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
  y = _mm256_max_ps(y, __builtin_shufflevector(y, y, 2, 3, 0, 1, 6, 7, 4, 5));
  return _mm256_max_ps(y, __builtin_shufflevector(y, y, 1, 0, 3, 2, 5, 4, 7, 6))[0];
}

#include "vec8_shuffle.inl.hpp"
