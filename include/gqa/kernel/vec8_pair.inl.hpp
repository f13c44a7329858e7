// For targets whose vec is 4 lanes: vec8 is two of them. Even and odd lanes, loads and fma, sums of accumulators,
// and 8 x 8 transposition. add_pairs (a01 a23 b01 b23) is the target's own.
struct vec8 {
  vec low, high;
};
typedef vec8 rows_vec;  // of a dot product
inline constexpr int rows_in_vec = 1;

GQA_INLINE vec evens(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
GQA_INLINE vec odds(vec a, vec b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }

GQA_INLINE vec8 load8(const float* p) { return {vload(p), vload(p + 4)}; }
GQA_INLINE vec8 hold8(vec8 x) { return x; }
GQA_INLINE vec8 scale8(vec8 x, float y) { return {x.low * y, x.high * y}; }
GQA_INLINE void store8(float* p, vec8 x) {
  vstore(p, x.low);
  vstore(p + 4, x.high);
}
GQA_INLINE vec8 fma8(vec8 a, vec8 b, vec8 c) { return {vfma(a.low, b.low, c.low), vfma(a.high, b.high, c.high)}; }

template <element E, neighbour = neighbour::none>
GQA_INLINE vec8 widen8(const char* p) {
  return {widen<E>(p), widen<E>(p + 4 * size_of<E>)};
}

GQA_INLINE vec8 add_pairs8(vec8 a, vec8 b) {  // (a01 a23 b01 b23 | a45 a67 b45 b67)
  return {add_pairs(a.low, b.low), add_pairs(a.high, b.high)};
}

/// From pairs of pairs of 8 accumulators: lane i of the result is the sum of accumulator i's lanes,
/// ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
GQA_INLINE vec8 add_halves8(vec8 low, vec8 high) { return {low.low + low.high, high.low + high.high}; }

GQA_INLINE void transpose4(vec& a, vec& b, vec& c, vec& d) {
  const vec ab_even = __builtin_shufflevector(a, b, 0, 4, 2, 6), ab_odd = __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const vec cd_even = __builtin_shufflevector(c, d, 0, 4, 2, 6), cd_odd = __builtin_shufflevector(c, d, 1, 5, 3, 7);
  a = __builtin_shufflevector(ab_even, cd_even, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_odd, cd_odd, 0, 1, 4, 5);
  c = __builtin_shufflevector(ab_even, cd_even, 2, 3, 6, 7);
  d = __builtin_shufflevector(ab_odd, cd_odd, 2, 3, 6, 7);
}

GQA_INLINE void transpose8(vec8 (&x)[8]) {
  transpose4(x[0].low, x[1].low, x[2].low, x[3].low);
  transpose4(x[0].high, x[1].high, x[2].high, x[3].high);
  transpose4(x[4].low, x[5].low, x[6].low, x[7].low);
  transpose4(x[4].high, x[5].high, x[6].high, x[7].high);
  GQA_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    const vec t = x[i].high;
    x[i].high = x[i + 4].low;
    x[i + 4].low = t;
  }
}
