// Scores of few rows: each q . k is a dot product along head_dim, a tile of rows x keys at a time, so that a key is
// read and widened once for all rows of the tile. Lane l of an accumulator is virtual lane l of the contract.

/// acc[c * R + r] += products of 8 elements of q_r and k_c at d; of fewer, where fewer are left.
template <element E, int R, int C>
GQA_INLINE void dot_step(const score_args& a, const float* q, const row_run* k, std::int64_t d, std::int64_t left,
                         vec8* acc) {
  vec8 x[C];
  GQA_UNROLL(8)
  for (int c = 0; c < C; ++c)
    x[c] = left >= 8 ? widen8<E>(k[c].row + d * size_of<E>) : widen8_tail<E>(k[c].row + d * size_of<E>, left);
  GQA_UNROLL(8)
  for (int r = 0; r < R; ++r) {
    const vec8 y = load8(q + r * a.q_stride + d);
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[c * R + r] = fma8(y, x[c], acc[c * R + r]);
  }
}

/// C keys side by side, from end to end.
template <element E, int R, int C>
GQA_INLINE void dot_keys_together(const score_args& a, const float* q, const row_run* k, vec8* acc) {
  GQA_UNROLL(16)
  for (int i = 0; i < R * C; ++i) acc[i] = zero8();

  constexpr std::int64_t line = line_bytes / size_of<E>;
  std::int64_t d = 0;
  for (; d + line <= a.dim; d += line) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) prefetch(k[c].ahead + d * size_of<E>);
    GQA_UNROLL(4)
    for (std::int64_t u = 0; u < line; u += 8) dot_step<E, R, C>(a, q, k, d + u, 8, acc);
  }
  for (; d < a.dim; d += 8) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) prefetch(k[c].ahead + d * size_of<E>);
    dot_step<E, R, C>(a, q, k, d, a.dim - d, acc);
  }
}

/// R rows x C keys with R * C a multiple of 8. In turn, each key is read from end to end before the next.
template <element E, int R, int C, bool InTurn>
GQA_INLINE void dot_scores(const score_args& a, std::int64_t row) {
  const float* q = a.q + row * a.q_stride;
  float* s = a.s + row * block_keys;
  for (std::int64_t key = 0; key < a.keys.count; key += C) {
    row_run k[C];
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) k[c] = row_at(a.keys, key + c);
    vec8 acc[R * C];
    if constexpr (InTurn) {
      GQA_UNROLL(8)
      for (int c = 0; c < C; ++c) dot_keys_together<E, R, 1>(a, q, k + c, acc + c * R);
    } else {
      dot_keys_together<E, R, C>(a, q, k, acc);
    }
    float scaled[R * C];
    GQA_UNROLL(4)
    for (int i = 0; i < R * C; i += 8) {
      vec8 group[8];
      GQA_UNROLL(8)
      for (int j = 0; j < 8; ++j) group[j] = acc[(i + j) % C * R + (i + j) / C];
      store8(scaled + i, scale8(sum_lanes8(group), a.scale));
    }
    GQA_UNROLL(8)
    for (int r = 0; r < R; ++r) __builtin_memcpy(s + r * block_keys + key, scaled + r * C, C * sizeof(float));
  }
}

template <element E, bool InTurn>
GQA_INLINE void dot_rows_of(const score_args& a) {
  std::int64_t row = 0;
  for (; row + 4 <= a.rows; row += 4) dot_scores<E, 4, dot_keys, InTurn>(a, row);
  for (; row + 2 <= a.rows; row += 2) dot_scores<E, 2, 4, InTurn>(a, row);
  for (; row < a.rows; ++row) dot_scores<E, 1, 8, InTurn>(a, row);
}

template <element E>
GQA_ENTRY void score_dot(const score_args& a) noexcept {
  if (a.in_turn) dot_rows_of<E, true>(a);
  else dot_rows_of<E, false>(a);
}
