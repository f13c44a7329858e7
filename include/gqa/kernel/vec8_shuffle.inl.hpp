// Where vec8 is one vector of 8 lanes: sums of accumulators and 8 x 8 transposition, as shuffles inside and between
// its halves.
GQA_INLINE vec8 add_pairs8(vec8 a, vec8 b) {  // (a01 a23 b01 b23 | a45 a67 b45 b67)
  return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}

/// From pairs of pairs of 8 accumulators: lane i of the result is the sum of accumulator i's lanes,
/// ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
GQA_INLINE vec8 add_halves8(vec8 low, vec8 high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
}

GQA_INLINE void transpose8(vec8 (&x)[8]) {
  vec8 y[8];
  GQA_UNROLL(8)
  for (int i = 0; i < 8; i += 2) {
    y[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    y[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  GQA_UNROLL(8)
  for (int i = 0; i < 8; i += 4) {
    x[i] = __builtin_shufflevector(y[i], y[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    x[i + 1] = __builtin_shufflevector(y[i], y[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    x[i + 2] = __builtin_shufflevector(y[i + 1], y[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    x[i + 3] = __builtin_shufflevector(y[i + 1], y[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  GQA_UNROLL(8)
  for (int i = 0; i < 4; ++i) {
    y[i] = __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    y[i + 4] = __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  GQA_UNROLL(8)
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}
