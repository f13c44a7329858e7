// o += P . V: a register tile of rows x vectors of one value row stays in accumulators while the keys go by in order,
// so that each output element is one fma chain over keys.

// Vectors of a value that a single row takes at once: a wide tile hides the latency of its chains.
inline constexpr int value_vectors = 8;
inline constexpr std::int64_t value_columns = value_vectors * width;

// The same for 2 to 4 rows, as measured: wide tiles broadcast fewer weights, which pays
// where 16-bit values must be widened first; f32, bound by reading, gains from narrow ones.
template <element E>
inline constexpr int few_vectors = width == 16 && E != element::f32 ? 4 : 2;

// Whether a tile looks its rows up one by one, as measured: where one instruction reads a whole line and several rows
// use it, a processor that runs too far ahead of its misses reads out of order.
template <element E, int R>
inline constexpr bool one_by_one = R > 1 && width == 16 && E == element::f32;

/// acc[r * C + c] += p[r] * vector c of the value at v; of its last `elements`, where it is partial.
template <element E, int R, int C, bool Partial>
GQA_INLINE void weigh_value(const char* v, const char* ahead, const float* p, std::int64_t elements, vec* acc) {
  vec x[C];
  GQA_UNROLL(8)
  for (int c = 0; c < C; ++c) {
    x[c] = Partial ? widen_partial<E>(v, elements) : widen<E>(v + c * width * size_of<E>);
    if (c * width * size_of<E> % line_bytes == 0) prefetch(ahead + c * width * size_of<E>);
  }
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    const vec y = vset(p[r * block_keys]);
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[r * C + c] = vfma(y, x[c], acc[r * C + c]);
  }
}

template <element E, int R, int C, bool Partial>
GQA_INLINE void weigh_tile(const weigh_args& a, const float* p, std::int64_t column, std::int64_t elements, float* o) {
  vec acc[R * C];
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[r * C + c] = vload(o + r * a.o_stride + c * width);
  }
  const std::int64_t at = column * size_of<E>, stride = a.values.stride;
  if constexpr (one_by_one<E, R>) {
    for (std::int64_t i = 0; i < a.values.count; ++i) {
      const row_run v = row_at(a.values, i);
      weigh_value<E, R, C, Partial>(v.row + at, v.ahead + at, p + i, elements, acc);
    }
  } else {
    for (std::int64_t i = 0; i < a.values.count;) {
      const row_run run = run_from(a.values, i);
      const char *v = run.row + at, *ahead = run.ahead + at;
      for (const std::int64_t end = i + run.count; i < end; ++i, v += stride, ahead += stride)
        weigh_value<E, R, C, Partial>(v, ahead, p + i, elements, acc);
    }
  }
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) vstore(o + r * a.o_stride + c * width, acc[r * C + c]);
  }
}

/// Any number of rows against C vectors of each value.
template <element E, int C, bool Partial>
GQA_INLINE void weigh_rows(const weigh_args& a, std::int64_t column) {
  const float* p = a.p;
  float* o = a.o + column;
  std::int64_t rows = a.rows;
  const std::int64_t elements = a.dim - column;
  for (; rows >= row_tile; rows -= row_tile, p += row_tile * block_keys, o += row_tile * a.o_stride)
    weigh_tile<E, row_tile, C, Partial>(a, p, column, elements, o);
  for (int step = row_tile > 8 ? 8 : 4; step > 0; step /= 2)
    if (rows >= step) {
      if constexpr (row_tile > 8)
        if (step == 8) weigh_tile<E, 8, C, Partial>(a, p, column, elements, o);
      if (step == 4) weigh_tile<E, 4, C, Partial>(a, p, column, elements, o);
      if (step == 2) weigh_tile<E, 2, C, Partial>(a, p, column, elements, o);
      if (step == 1) weigh_tile<E, 1, C, Partial>(a, p, column, elements, o);
      rows -= step;
      p += step * block_keys;
      o += step * a.o_stride;
    }
}

template <element E>
GQA_INLINE void weigh_many(const weigh_args& a) {
  std::int64_t column = 0;
  for (; column + 2 * width <= a.dim; column += 2 * width) weigh_rows<E, 2, false>(a, column);
  for (; column + width <= a.dim; column += width) weigh_rows<E, 1, false>(a, column);
  if (column < a.dim) weigh_rows<E, 1, true>(a, column);
}

/// R rows from `row` on: a single one in the widest tiles, more in those of few_vectors.
template <element E, int R>
GQA_INLINE void weigh_few(const weigh_args& a, std::int64_t row) {
  constexpr int C = R == 1 ? value_vectors : few_vectors<E>;
  const float* p = a.p + row * block_keys;
  float* o = a.o + row * a.o_stride;
  std::int64_t column = 0;
  for (; column + C * width <= a.dim; column += C * width) weigh_tile<E, R, C, false>(a, p, column, 0, o + column);
  if constexpr (C > 4)
    for (; column + 4 * width <= a.dim; column += 4 * width) weigh_tile<E, R, 4, false>(a, p, column, 0, o + column);
  if constexpr (C > 2)
    for (; column + 2 * width <= a.dim; column += 2 * width) weigh_tile<E, R, 2, false>(a, p, column, 0, o + column);
  for (; column + width <= a.dim; column += width) weigh_tile<E, R, 1, false>(a, p, column, 0, o + column);
  if (column < a.dim) weigh_tile<E, R, 1, true>(a, p, column, a.dim - column, o + column);
}

template <element E>
GQA_ENTRY void weigh(const weigh_args& a) noexcept {
  if (a.rows > 4) return weigh_many<E>(a);
  if (a.rows == 4) weigh_few<E, 4>(a, 0);
  if (a.rows == 2 || a.rows == 3) weigh_few<E, 2>(a, 0);
  if (a.rows == 1 || a.rows == 3) weigh_few<E, 1>(a, a.rows - 1);
}
