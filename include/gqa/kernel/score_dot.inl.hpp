// Scores of few rows: each q . k is a dot product along head_dim, a tile of rows x 8 keys at a time, so that a key is
// read and widened once for all rows of the tile. Lane l of a row's 8 is virtual lane l of the contract; those of two
// keys, then four, then eight are added up pairwise as they appear, so that few registers wait. Where a register holds
// the lanes of several rows (rows_vec), a key's are repeated beside each other.

/// The vector that R rows are multiplied in, and how many rows share one.
template <bool Several>
struct dot_vector {
  typedef vec8 type;
  static constexpr int rows = 1;
};
template <>
struct dot_vector<true> {
  typedef rows_vec type;
  static constexpr int rows = rows_in_vec;
};
template <int R>
using dot_vector_of = dot_vector<(rows_in_vec > 1 && R >= 4 && R % rows_in_vec == 0)>;

GQA_INLINE void load_rows(const float* q, vec8& x) { x = load8(q); }
template <element E>
GQA_INLINE void widen_key(const char* k, vec8& x) {
  x = widen8<E>(k);
}
GQA_INLINE void repeat_key(vec8 k, vec8& x) { x = k; }
GQA_INLINE void store_rows(float* s, vec8 x) { store8(s, x); }

/// acc[c][r] += products of 8 elements of q_r and those `at` bytes inside k_c; of fewer, where fewer are `left`.
template <element E, int R, int C, class V>
GQA_INLINE void dot_step(const float* q, const char* const* k, std::int64_t at, std::int64_t left, V* acc) {
  constexpr int vectors = R / dot_vector_of<R>::rows;
  V x[C];
  GQA_UNROLL(4)
  for (int c = 0; c < C; ++c) {
    if (left >= 8) widen_key<E>(k[c] + at, x[c]);
    else repeat_key(widen8_tail<E>(k[c] + at, left), x[c]);
  }
  GQA_UNROLL(8)
  for (int r = 0; r < vectors; ++r) {
    V y;
    load_rows(q + r * (8 * R / vectors), y);
    if (R > 2 && C > 1) y = hold8(y);
    GQA_UNROLL(4)
    for (int c = 0; c < C; ++c) acc[c * vectors + r] = fma8(y, x[c], acc[c * vectors + r]);
  }
}

/// acc[c][r] = lanes of q_r . k_c, for C keys side by side from end to end. If Fetch, with byte b of key c, byte
/// b * spread from ahead + c * stride on is prefetched. q: [padded dim / 8][R][8]. Even: no key ends inside a step, of
/// a line where lines are fetched.
template <element E, int R, int C, bool Even, bool Fetch, class V>
GQA_INLINE void dot_keys_together(const float* q, const char* const* k, const char* ahead, std::int64_t stride,
                                  std::int64_t spread, std::int64_t dim, V* acc) {
  GQA_UNROLL(32)
  for (int i = 0; i < R * C / dot_vector_of<R>::rows; ++i) acc[i] = V{};
  constexpr int elements = Even && Fetch ? line_bytes / size_of<E> : 8, bytes = elements * size_of<E>;
  std::int64_t at = 0;
  for (; at + bytes <= dim * size_of<E>; at += bytes, q += elements * R, ahead += spread * bytes) {
    GQA_UNROLL(4)
    for (int c = 0; Fetch && c < C; ++c) prefetch(ahead + c * stride);
    GQA_UNROLL(4)
    for (int i = 0; i < elements; i += 8) dot_step<E, R, C>(q + i * R, k, at + i * size_of<E>, 8, acc);
  }
  if (!Even && dim % 8 != 0) dot_step<E, R, C>(q, k, at, dim % 8, acc);
}

/// R rows x all keys, C of them side by side.
template <element E, int R, int C, bool Even, bool Fetch>
GQA_INLINE void dot_tile(const score_args& a, const float* q, float* s) {
  typedef typename dot_vector_of<R>::type V;
  constexpr int vectors = R / dot_vector_of<R>::rows;
  constexpr int at_once = C > 2 ? C : 2;  // keys whose sums wait for each other
  row_run next = run_from(a.keys, 0);
  for (std::int64_t key = 0; key < a.keys.count; key += row_group) {
    const row_run run = next;
    if (key + row_group < a.keys.count) next = run_from(a.keys, key + row_group);  // early: what it looks up takes time
    V pairs[4 * vectors];
    for (int c = 0; c < row_group; c += at_once) {
      const char* k[at_once];
      GQA_UNROLL(4)
      for (int i = 0; i < at_once; ++i) k[i] = row_of(a.keys, run, key, c + i);
      V acc[at_once * vectors];
      GQA_UNROLL(2)
      for (int i = 0; i < at_once; i += C)
        dot_keys_together<E, R, C, Even, Fetch>(q, k + i, run.ahead + (c + i) * a.keys.ahead.stride,
                                                a.keys.ahead.stride, a.keys.ahead.spread, a.dim, acc + i * vectors);
      GQA_UNROLL(2)
      for (int i = 0; i < at_once; i += 2) {
        GQA_UNROLL(8)
        for (int r = 0; r < vectors; ++r)
          pairs[(c + i) / 2 * vectors + r] = add_pairs8(acc[i * vectors + r], acc[(i + 1) * vectors + r]);
      }
    }
    GQA_UNROLL(8)
    for (int r = 0; r < vectors; ++r) {
      const V low = add_pairs8(pairs[r], pairs[vectors + r]);
      const V high = add_pairs8(pairs[2 * vectors + r], pairs[3 * vectors + r]);
      store_rows(s + r * (R / vectors) * block_keys + key, scale8(add_halves8(low, high), a.scale));
    }
  }
}

/// R rows from `row` on. Keys stand side by side unless each is to be read from end to end before the next.
template <element E, int R, bool Fetch>
GQA_INLINE void dot_rows_of(const score_args& a, std::int64_t row) {
  const float* q = a.q + row * padded(a.dim);
  float* s = a.s + row * block_keys;
  constexpr int C = R > 2 ? dot_keys : 4;
  constexpr std::int64_t even = Fetch ? line_bytes / size_of<E> : 8;
  if (a.dim % even != 0) dot_tile<E, R, 1, false, Fetch>(a, q, s);
  else if (C == 1 || a.in_turn) dot_tile<E, R, 1, Fetch, Fetch>(a, q, s);
  else dot_tile<E, R, C, true, Fetch>(a, q, s);
}

/// n rows from `row` on. Not inlined: in one large function, registers would not do for what is prefetched.
template <element E, bool Fetch>
GQA_ENTRY void dot_rows_at(const score_args& a, std::int64_t row, std::int64_t n) noexcept {
  switch (n) {
    case 8:
      if constexpr (dot_rows == 8) dot_rows_of<E, 8, Fetch>(a, row);
      break;
    case 6:
      if constexpr (dot_rows == 6 && !Fetch) dot_rows_of<E, 6, Fetch>(a, row);
      break;
    case 4: dot_rows_of<E, 4, Fetch>(a, row); break;
    case 3: dot_rows_of<E, 3, Fetch>(a, row); break;
    case 2: dot_rows_of<E, 2, Fetch>(a, row); break;
    default: dot_rows_of<E, 1, Fetch>(a, row);
  }
}

/// Prefetches a share of the keys to come, whole.
template <element E>
GQA_INLINE void prefetch_keys(const score_args& a, prefetch_share share) {
  for (std::int64_t key = share.begin; key < share.end; ++key) {
    const row_run one = row_at(a.keys, key);
    for (std::int64_t at = 0; at < a.dim * size_of<E>; at += line_bytes) prefetch(one.ahead + at);
  }
}

/// One tile prefetches as it reads, where keys are evenly spaced; several share that, each its part beforehand.
template <element E>
GQA_ENTRY void score_dot(const score_args& a) noexcept {
  if (a.keys.stride != 0 && dot_tile_rows(a.rows, 0, dot_rows) == a.rows) return dot_rows_at<E, true>(a, 0, a.rows);
  for (std::int64_t row = 0, n; row < a.rows; row += n) {
    n = dot_tile_rows(a.rows, row, dot_rows);
    prefetch_keys<E>(a, share_of(a.keys.count, row, n, a.rows));
    dot_rows_at<E, false>(a, row, n);
  }
}
