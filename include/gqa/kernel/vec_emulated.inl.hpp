// Any target's shape without its instructions, for tests: vec is `width` lanes, which the compiler lowers to what the
// baseline has; vec8 is one vector of 8 lanes with the shuffles of vec8_shuffle.inl.hpp. regions.hpp sets the shape.
typedef float vec __attribute__((vector_size(4 * width)));
typedef std::int32_t ivec __attribute__((vector_size(4 * width)));
typedef float vec8 __attribute__((vector_size(32)));
inline constexpr int rows_in_vec = width == 16 ? 2 : 1;  // of a dot product

template <class V>
GQA_INLINE V load_as(const void* p) {
  V x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) {
  float lanes[width];
  for (int i = 0; i < width; ++i) lanes[i] = x;
  return load_as<vec>(lanes);
}
GQA_INLINE vec vload(const float* p) { return load_as<vec>(p); }
GQA_INLINE void vstore(float* p, vec x) { __builtin_memcpy(p, &x, sizeof x); }
GQA_INLINE ivec viset(std::int32_t x) { return ivec{} + x; }
#include "vec_plain.inl.hpp"

/// Every second lane of a and b, one after the other, from lane `first` on.
GQA_INLINE vec every_second(vec a, vec b, int first) {
  float x[2 * width], y[width];
  vstore(x, a);
  vstore(x + width, b);
  for (int i = 0; i < width; ++i) y[i] = x[2 * i + first];
  return vload(y);
}
GQA_INLINE vec evens(vec a, vec b) { return every_second(a, b, 0); }
GQA_INLINE vec odds(vec a, vec b) { return every_second(a, b, 1); }

#if !defined(__FMA__) && !defined(__aarch64__)
#include "fma_exact.inl.hpp"
#endif
// A call, not inlined: the text of an emulated fma for each accumulator of each tile would take minutes to compile.
GQA_ENTRY void fma_lanes(const float* a, const float* b, const float* c, float* r, int n) noexcept {
#if defined(__FMA__) || defined(__aarch64__)
  for (int i = 0; i < n; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
#else
  for (int i = 0; i < n; i += 2) {
    const half_vec x = fma_pair(load_as<half_vec>(a + i), load_as<half_vec>(b + i), load_as<half_vec>(c + i));
    __builtin_memcpy(r + i, &x, sizeof x);
  }
#endif
}
template <class V>
GQA_INLINE V fma_of(V a, V b, V c) {
  V r;
  fma_lanes((const float*)&a, (const float*)&b, (const float*)&c, (float*)&r, (int)(sizeof r / sizeof(float)));
  return r;
}
GQA_INLINE vec vfma(vec a, vec b, vec c) { return fma_of(a, b, c); }

GQA_INLINE vec8 load8(const float* p) { return load_as<vec8>(p); }
GQA_INLINE vec8 hold8(vec8 x) { return x; }
GQA_INLINE vec8 scale8(vec8 x, float y) { return x * y; }
GQA_INLINE void store8(float* p, vec8 x) { __builtin_memcpy(p, &x, sizeof x); }
GQA_INLINE vec8 fma8(vec8 a, vec8 b, vec8 c) { return fma_of(a, b, c); }

#include "vec8_shuffle.inl.hpp"
#include "vec8_twice.inl.hpp"

GQA_INLINE rows_vec hold8(rows_vec x) { return x; }
GQA_INLINE rows_vec fma8(rows_vec a, rows_vec b, rows_vec c) { return fma_of(a, b, c); }

template <element E, class V>
GQA_INLINE V widen_as(const char* p) {
  constexpr int n = sizeof(V) / sizeof(float);
  if constexpr (E == element::f32) return load_as<V>(p);
  float x[n];
  for (int i = 0; i < n; ++i) x[i] = widen_one<E>(p + i * size_of<E>);
  return load_as<V>(x);
}
template <element E, int = 0>
GQA_INLINE vec widen(const char* p) {
  return widen_as<E, vec>(p);
}
template <element E, neighbour = neighbour::none>
GQA_INLINE vec8 widen8(const char* p) {
  return widen_as<E, vec8>(p);
}
template <element E, neighbour, bool>
GQA_INLINE void widen_key(const char* k, rows_vec& x) {
  repeat_key(widen8<E>(k), x);
}

/// Even elements, then odd ones, as AVX2 and AVX-512 take those of bf16.
template <element E>
GQA_INLINE void widen_apart(const char* p, vec& even, vec& odd) {
  float x[2][width];
  for (int i = 0; i < 2 * width; ++i) x[i % 2][i / 2] = widen_one<E>(p + i * size_of<E>);
  even = vload(x[0]);
  odd = vload(x[1]);
}
template <element E>
GQA_INLINE void take_apart(vec& first, vec& second) {
  const vec a = first, b = second;
  first = evens(a, b);
  second = odds(a, b);
}
template <element E>
GQA_INLINE void put_together(vec& even, vec& odd) {
  float x[2][width], y[2 * width];
  vstore(x[0], even);
  vstore(x[1], odd);
  for (int i = 0; i < 2 * width; ++i) y[i] = x[i % 2][i / 2];
  even = vload(y);
  odd = vload(y + width);
}
