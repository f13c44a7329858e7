// o += P . V: a register tile of rows x vectors of one value row stays in accumulators while the keys go by in order,
// so that each output element is one fma chain over keys.

// Vectors of a value row that 4 rows or fewer take at once, as measured: wide tiles broadcast fewer weights, which pays
// where 16-bit values must be widened first; f32, bound by reading, gains from narrow ones.
template <element E>
inline constexpr int wide_columns = width == 16 && E != element::f32 ? 4 : 2;

template <element E, int R, int C, bool Partial>
GQA_INLINE void weigh_tile(const weigh_args& a, const float* p, std::int64_t column, std::int64_t elements, float* o) {
  vec acc[R * C];
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[r * C + c] = vload(o + r * a.o_stride + c * width);
  }
  const std::int64_t at = column * size_of<E>;
  for (std::int64_t i = 0; i < a.values.count; ++i) {
    const char* v = a.values.base + a.values.offsets[i] + at;
    const char* ahead = a.values.base + a.values.ahead[i] + at;
    vec x[C];
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) {
      x[c] = Partial ? widen_partial<E>(v, elements) : widen<E>(v + c * width * size_of<E>);
      if (c * width * size_of<E> % line_bytes == 0) prefetch(ahead + c * width * size_of<E>);
    }
    GQA_UNROLL(16)
    for (int r = 0; r < R; ++r) {
      const vec y = vset(p[r * block_keys + i]);
      GQA_UNROLL(8)
      for (int c = 0; c < C; ++c) acc[r * C + c] = vfma(y, x[c], acc[r * C + c]);
    }
  }
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) vstore(o + r * a.o_stride + c * width, acc[r * C + c]);
  }
}

template <element E, int C, bool Partial>
GQA_INLINE void weigh_rows(const weigh_args& a, std::int64_t row, std::int64_t rows, std::int64_t column,
                           std::int64_t elements) {
  const float* p = a.p + row * block_keys;
  float* o = a.o + row * a.o_stride + column;
  constexpr int most = C > 2 ? 4 : row_tile;
  for (; rows >= most; rows -= most, p += most * block_keys, o += most * a.o_stride)
    weigh_tile<E, most, C, Partial>(a, p, column, elements, o);
  for (int step = most > 8 ? 8 : most > 4 ? 4 : 2; step > 0; step /= 2)
    if (rows >= step) {
      if constexpr (most > 8)
        if (step == 8) weigh_tile<E, 8, C, Partial>(a, p, column, elements, o);
      if constexpr (most > 4)
        if (step == 4) weigh_tile<E, 4, C, Partial>(a, p, column, elements, o);
      if (step == 2) weigh_tile<E, 2, C, Partial>(a, p, column, elements, o);
      if (step == 1) weigh_tile<E, 1, C, Partial>(a, p, column, elements, o);
      rows -= step;
      p += step * block_keys;
      o += step * a.o_stride;
    }
}

template <element E>
GQA_ENTRY void weigh(const weigh_args& a) noexcept {
  std::int64_t column = 0;
  if (a.rows == 1)  // one row has registers to spare: wider tiles hide the latency of its chains
    for (; column + 8 * width <= a.dim; column += 8 * width)
      weigh_tile<E, 1, 8, false>(a, a.p, column, 0, a.o + column);
  if (wide_columns<E> != 2 && a.rows <= 4)
    for (; column + wide_columns<E> * width <= a.dim; column += wide_columns<E> * width)
      weigh_rows<E, wide_columns<E>, false>(a, 0, a.rows, column, 0);
  for (; column + 2 * width <= a.dim; column += 2 * width) weigh_rows<E, 2, false>(a, 0, a.rows, column, 0);
  for (; column + width <= a.dim; column += width) weigh_rows<E, 1, false>(a, 0, a.rows, column, 0);
  if (column < a.dim) weigh_rows<E, 1, true>(a, 0, a.rows, column, a.dim - column);
}
