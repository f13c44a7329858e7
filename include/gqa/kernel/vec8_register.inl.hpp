// 8 lanes in one AVX register: loads and fma; sums and transposition in vec8_shuffle.inl.hpp. How elements
// widen is the target's own.
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

#include "vec8_shuffle.inl.hpp"
