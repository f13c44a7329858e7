// The ABI's baseline: vec is 4 lanes, vec8 two of them. Without FMA hardware the product and the sum are formed in double
// (the product is exact) and the sum is rounded to odd, so that the one rounding to f32 is the fused one.
typedef float vec __attribute__((vector_size(16)));
typedef std::int32_t ivec __attribute__((vector_size(16)));
struct vec8 {
  vec low, high;
};
inline constexpr int width = 4;
inline constexpr int row_tile = 4;
inline constexpr int dot_keys = 2;

GQA_INLINE vec vset(float x) { return vec{x, x, x, x}; }
GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vload(const float* p) {
  vec x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
GQA_INLINE void vstore(float* p, vec x) { __builtin_memcpy(p, &x, sizeof x); }
GQA_INLINE ivec vbits(vec x) { return (ivec)x; }
GQA_INLINE vec vfloat(ivec x) { return (vec)x; }
GQA_INLINE ivec viset(std::int32_t x) { return ivec{x, x, x, x}; }
GQA_INLINE vec vand(vec x, ivec mask) { return (vec)(vbits(x) & mask); }
GQA_INLINE vec vselect(ivec mask, vec a, vec b) { return (vec)((vbits(a) & mask) | (vbits(b) & ~mask)); }

#if defined(__FMA__) || defined(__aarch64__)
GQA_INLINE vec vfma(vec a, vec b, vec c) {
  vec r;
  for (int i = 0; i < 4; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
}
#else
typedef double pair __attribute__((vector_size(16)));
typedef std::int64_t ipair __attribute__((vector_size(16)));
typedef float half_vec __attribute__((vector_size(8)));

GQA_INLINE half_vec fma_pair(half_vec a, half_vec b, half_vec c) {
  const pair product = __builtin_convertvector(a, pair) * __builtin_convertvector(b, pair);
  const pair addend = __builtin_convertvector(c, pair);
  const pair sum = product + addend;
  const pair back = sum - product;
  const pair rest = (product - (sum - back)) + (addend - back);  // TwoSum: product + addend == sum + rest
  const ipair inexact = (ipair)(rest > 0.0) | (ipair)(rest < 0.0);
  const ipair away = (ipair)(rest > 0.0) ^ (ipair)(sum > 0.0);  // -1 where the rest points towards zero
  const ipair even = ((ipair)sum & 1) - 1;
  const ipair odd = (ipair)sum + ((away | 1) & inexact & even);
  return __builtin_convertvector((pair)odd, half_vec);
}
GQA_INLINE vec vfma(vec a, vec b, vec c) {
  const half_vec low = fma_pair(__builtin_shufflevector(a, a, 0, 1), __builtin_shufflevector(b, b, 0, 1),
                                __builtin_shufflevector(c, c, 0, 1));
  const half_vec high = fma_pair(__builtin_shufflevector(a, a, 2, 3), __builtin_shufflevector(b, b, 2, 3),
                                 __builtin_shufflevector(c, c, 2, 3));
  return __builtin_shufflevector(low, high, 0, 1, 2, 3);
}
#endif

GQA_INLINE vec vmax(vec a, vec b) { return vselect((ivec)(a > b), a, b); }  // b where either is NaN
GQA_INLINE float highest_lane(vec x) {
  const vec y = vmax(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
  return vmax(y, __builtin_shufflevector(y, y, 1, 0, 3, 2))[0];
}
GQA_INLINE vec vrint(vec x) {
  const ivec sign = viset(INT32_MIN);
  const vec magnitude = vand(x, ~sign);
  const vec rounded = (magnitude + 0x1p23f) - 0x1p23f;
  return vselect(sign, x, vselect((ivec)(magnitude < 0x1p23f), rounded, magnitude));
}
GQA_INLINE ivec vtoint(vec x) { return __builtin_convertvector(x, ivec); }
GQA_INLINE ivec vshift(ivec x) { return x << 23; }

GQA_INLINE vec8 load8(const float* p) { return {vload(p), vload(p + 4)}; }
GQA_INLINE vec8 scale8(vec8 x, float y) { return {x.low * y, x.high * y}; }
GQA_INLINE vec8 zero8() { return {vec{}, vec{}}; }
GQA_INLINE void store8(float* p, vec8 x) {
  vstore(p, x.low);
  vstore(p + 4, x.high);
}
GQA_INLINE vec8 fma8(vec8 a, vec8 b, vec8 c) { return {vfma(a.low, b.low, c.low), vfma(a.high, b.high, c.high)}; }

/// Lane i of the result is the sum of a[i]'s lanes, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
GQA_INLINE vec8 sum_lanes8(const vec8 (&a)[8]) {
  float r[8];
  for (int i = 0; i < 8; ++i)
    r[i] = ((a[i].low[0] + a[i].low[1]) + (a[i].low[2] + a[i].low[3])) +
           ((a[i].high[0] + a[i].high[1]) + (a[i].high[2] + a[i].high[3]));
  return load8(r);
}

GQA_INLINE void transpose8(vec8 (&x)[8]) {
  float rows[8][8], columns[8][8];
  for (int i = 0; i < 8; ++i) store8(rows[i], x[i]);
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) columns[j][i] = rows[i][j];
  for (int i = 0; i < 8; ++i) x[i] = load8(columns[i]);
}

template <element E>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) {
    return vload((const float*)p);
  } else {
    float x[4];
    for (int i = 0; i < 4; ++i) {
      std::uint16_t half;
      __builtin_memcpy(&half, p + 2 * i, 2);
      const std::uint32_t bits = E == element::f16 ? f32_bits_from_f16(half) : f32_bits_from_bf16(half);
      __builtin_memcpy(x + i, &bits, 4);
    }
    return vload(x);
  }
}
template <element E>
GQA_INLINE vec8 widen8(const char* p) {
  return {widen<E>(p), widen<E>(p + 4 * (E == element::f32 ? 4 : 2))};
}
