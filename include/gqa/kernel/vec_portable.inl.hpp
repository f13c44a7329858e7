// The ABI's baseline: vec is 4 lanes, vec8 two of them. Without FMA hardware the fused multiply-add is emulated
// exactly.
typedef float vec __attribute__((vector_size(16)));
typedef std::int32_t ivec __attribute__((vector_size(16)));
inline constexpr int width = 4;
inline constexpr int row_tile = 4;
inline constexpr int wide_rows = 0;  // x wide_vectors of values: none
inline constexpr int wide_vectors = 0;
inline constexpr int score_rows = 4;          // rows of a panel product's register tile
inline constexpr int panel_registers = 12;    // accumulators it may have
inline constexpr int widened_registers = 12;  // the same where keys are widened first
inline constexpr dot_tiling dot_rows = {4, 4};
inline constexpr int dot_keys = 1;
inline constexpr int dot_sums = 4;
inline constexpr int unpacked_rows = 8;
inline constexpr memory_traits memory = {};

GQA_INLINE vec vset(float x) { return vec{x, x, x, x}; }
GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vload(const float* p) {
  vec x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
GQA_INLINE void vstore(float* p, vec x) { __builtin_memcpy(p, &x, sizeof x); }
GQA_INLINE ivec viset(std::int32_t x) { return ivec{x, x, x, x}; }
#include "vec_plain.inl.hpp"

#if defined(__FMA__) || defined(__aarch64__)
GQA_INLINE vec vfma(vec a, vec b, vec c) {
  vec r;
  for (int i = 0; i < 4; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
}
#else
#include "fma_exact.inl.hpp"
// A call, not inlined: dozens of copies of the emulation in every tile would double the compile time.
GQA_ENTRY vec vfma(vec a, vec b, vec c) {
  const half_vec low = fma_pair(__builtin_shufflevector(a, a, 0, 1), __builtin_shufflevector(b, b, 0, 1),
                                __builtin_shufflevector(c, c, 0, 1));
  const half_vec high = fma_pair(__builtin_shufflevector(a, a, 2, 3), __builtin_shufflevector(b, b, 2, 3),
                                 __builtin_shufflevector(c, c, 2, 3));
  return __builtin_shufflevector(low, high, 0, 1, 2, 3);
}
#endif

// A call as well.
template <element E>
GQA_ENTRY vec widen_four(const char* p) {
  float x[4];
  for (int i = 0; i < 4; ++i) x[i] = widen_one<E>(p + i * size_of<E>);
  return vload(x);
}
template <element E, int = 0>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) return vload((const float*)p);
  else return widen_four<E>(p);
}

GQA_INLINE vec add_pairs(vec a, vec b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

#include "vec8_pair.inl.hpp"
#include "vec_in_order.inl.hpp"
