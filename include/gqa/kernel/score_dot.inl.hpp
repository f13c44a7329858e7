// Scores of few rows: each q . k is a dot product along head_dim, a tile of rows x 8 keys at a time, so that a key is
// read and widened once for all rows of the tile (score_row.inl.hpp has a single row's). Lane l of a row's 8 is virtual
// lane l of the contract; those of two keys, then four, then eight are added up pairwise as they appear, so that few
// registers wait. Where a register holds the lanes of several rows (rows_vec), a key's are repeated beside each other.

/// Vectors V that R rows take: rows_vec, which several share, or vec8.
template <int R, class V>
inline constexpr int dot_vectors = (int)((R * sizeof(vec8) + sizeof(V) - 1) / sizeof(V));

/// Keys side by side for R rows: as many as there are registers for, or half as many; more against one or two rows,
/// which would wait for their own sums.
template <int R, class V>
constexpr int keys_at_once() {
  if (R == 1) return 4;
  if (R == 2) return dot_sums < 16 ? 4 : 8;
  return dot_vectors<R, V> * dot_keys <= dot_sums ? dot_keys : (dot_keys + 1) / 2;
}

GQA_INLINE void load_rows(const float* q, int, vec8& x) { x = load8(q); }
template <element E, neighbour N, bool>
GQA_INLINE void widen_key(const char* k, vec8& x) {
  x = widen8<E, N>(k);
}
GQA_INLINE void repeat_key(vec8 k, vec8& x) { x = k; }
GQA_INLINE void store_rows(float* s, int, vec8 x) { store8(s, x); }

/// acc[c][r] += products of 8 elements of q_r and those `at` bytes inside k_c, which have N beside them; of fewer,
/// where fewer are `left`.
template <element E, neighbour N, int R, int C, bool Whole, class V>
GQA_INLINE void dot_step(const float* q, const char* const* k, std::int64_t at, std::int64_t left, V* acc) {
  constexpr int vectors = dot_vectors<R, V>, rows = (int)(sizeof(V) / sizeof(vec8));
  V x[C];
  GQA_UNROLL(8)
  for (int c = 0; c < C; ++c) {
    if (left >= 8) widen_key<E, N, Whole>(k[c] + at, x[c]);
    else repeat_key(widen8_tail<E>(k[c] + at, left), x[c]);
  }
  GQA_UNROLL(8)
  for (int r = 0; r < vectors; ++r) {
    V y;
    load_rows(q + r * rows * 8, R - r * rows, y);
    if (R > 2 && C > 1) y = hold8(y);
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[c * vectors + r] = fma8(y, x[c], acc[c * vectors + r]);
  }
}

/// One line for each of C keys: what goes with key 0 is at `p`.
template <element E, int R, int C>
GQA_INLINE void prefetch_lines(const char* p, const rows_ahead& next) {
  GQA_UNROLL(8)
  for (int c = 0; c < C; ++c) prefetch_for<E, R>(p + c * next.stride, next.first_level);
}

/// acc[c][r] = lanes of q_r . k_c, for C keys side by side from end to end. If ByLine, with each line of key c one is
/// prefetched, apart as `next` says, from ahead + c * next.stride on. q: [padded dim / 8][R][8]. Even: no key ends
/// inside a step.
template <element E, int R, int C, bool Even, bool ByLine, bool Whole, class V>
GQA_INLINE void dot_keys_together(const float* q, const char* const* k, const char* ahead, const rows_ahead& next,
                                  std::int64_t dim, V* acc) {
  static_assert(!ByLine || Even);
  GQA_UNROLL(32)
  for (int i = 0; i < dot_vectors<R, V> * C; ++i) acc[i] = V{};
  constexpr int line_steps = (int)(line_bytes / (8 * size_of<E>));
  constexpr int at_once = ByLine ? line_steps : C == 1 ? 2 : 1;  // measured
  std::int64_t d = 0;
  for (; d + 8 * at_once <= dim; d += 8 * at_once, q += 8 * at_once * R, ahead += next.spread * line_bytes) {
    if (ByLine) prefetch_lines<E, R, C>(ahead, next);
    if constexpr (at_once == 1) {
      dot_step<E, neighbour::none, R, C, Whole>(q, k, d * size_of<E>, 8, acc);
    } else {
      GQA_UNROLL(4)
      for (int i = 0; i < at_once; i += 2) {
        const float* q_i = q + i * 8 * R;
        dot_step<E, neighbour::next, R, C, Whole>(q_i, k, (d + i * 8) * size_of<E>, 8, acc);
        dot_step<E, neighbour::previous, R, C, Whole>(q_i + 8 * R, k, (d + i * 8 + 8) * size_of<E>, 8, acc);
      }
    }
  }
  if (at_once > 1 && d + 8 <= dim) {
    if (ByLine) prefetch_lines<E, R, C>(ahead, next);
    for (; d + 8 <= dim; d += 8, q += 8 * R) dot_step<E, neighbour::none, R, C, Whole>(q, k, d * size_of<E>, 8, acc);
  }
  if (!Even && d < dim) dot_step<E, neighbour::none, R, C, Whole>(q, k, d * size_of<E>, dim - d, acc);
}

/// Which keys of a group of 8 bring what is prefetched with them: bit i, for key i. Of several tiles of query rows each
/// takes its part, all through the keys: a processor follows some 20 lines at a time.
typedef unsigned key_mask;
GQA_INLINE key_mask keys_of_tile(int tile, int tiles) {
  key_mask keys = 0;
  for (int i = tile; i < row_group; i += tiles) keys |= 1u << i;
  return keys;
}

/// R rows x all keys, C of them side by side. What goes with a key of `fetch` is prefetched before it is read or, if
/// ByLine, where keys are evenly spaced, with every key as it is read. Whole: bf16 keys widen into rows_vec as suits
/// processors of whole registers; else it makes no difference. Not inlined: the tiles of all sizes in one large
/// function compile in half again the time.
template <element E, int R, class V, int C, bool Even, bool ByLine, bool Whole>
GQA_ENTRY void dot_tile(const score_args& a, const float* q, float* s, key_mask fetch) noexcept {
  constexpr int vectors = dot_vectors<R, V>, rows = (int)(sizeof(V) / sizeof(vec8));
  constexpr int at_once = C > 2 ? C : 2;  // keys whose sums wait for each other
  const rows_ahead next = a.keys.ahead;
  row_run next_run = run_from(a.keys, 0);
  for (std::int64_t key = 0; key < a.keys.count; key += row_group) {
    const row_run run = next_run;
    if (key + row_group < a.keys.count) next_run = run_from(a.keys, key + row_group);  // early: looking up takes time
    V pairs[4 * vectors];
    V* sums = pairs;  // not an index: each sum would look its place up
    for (int c = 0; c < row_group; c += at_once, sums += at_once / 2 * vectors) {
      V acc[at_once * vectors];
      GQA_UNROLL(2)
      for (int i = c; i < c + at_once; i += C) {
        const char* k[C];
        GQA_UNROLL(8)
        for (int j = 0; j < C; ++j) k[j] = ByLine ? run.row + (i + j) * a.keys.stride : row_of(a.keys, run, key, i + j);
        for (int j = 0; j < C; ++j)
          if (!ByLine && (fetch >> (i + j) & 1)) prefetch_row<E, R>(next, row_at(a.keys, key + i + j).ahead, a.dim);
        dot_keys_together<E, R, C, Even, ByLine, Whole>(q, k, run.ahead + i * next.stride, next, a.dim,
                                                        acc + (i - c) * vectors);
      }
      GQA_UNROLL(4)
      for (int i = 0; i < at_once; i += 2) {
        GQA_UNROLL(8)
        for (int r = 0; r < vectors; ++r)
          sums[i / 2 * vectors + r] = add_pairs8(acc[i * vectors + r], acc[(i + 1) * vectors + r]);
      }
    }
    GQA_UNROLL(8)
    for (int r = 0; r < vectors; ++r) {
      const V low = add_pairs8(pairs[r], pairs[vectors + r]);
      const V high = add_pairs8(pairs[2 * vectors + r], pairs[3 * vectors + r]);
      store_rows(s + r * rows * block_keys + key, R - r * rows, scale8(add_halves8(low, high), a.scale));
    }
  }
}

/// R rows whose keys end with a step. Keys stand side by side unless each is to be read from end to end before the
/// next, which is for rows that reading binds.
template <element E, int R, class V, bool ByLine, bool Whole>
GQA_INLINE void dot_even_rows(const score_args& a, const float* q, float* s, key_mask fetch) {
  if constexpr (R <= size_of<E>)
    if (a.in_turn) return dot_tile<E, R, V, 1, true, ByLine, Whole>(a, q, s, fetch);
  dot_tile<E, R, V, keys_at_once<R, V>(), true, ByLine, Whole>(a, q, s, fetch);
}

/// R rows from `row` on. From 4 on, rows share registers; where a register takes as long as two halves, only 8 do,
/// since all that sharing then saves is instructions. Keys that end inside a step, and tiles of 5 to 7 rows unless
/// ByLine, are rare: there rows do not share, which compiles sooner.
template <element E, int R, bool ByLine>
GQA_INLINE void dot_rows_of(const score_args& a, std::int64_t row, key_mask fetch) {
  constexpr bool share = rows_in_vec > 1 && (R == 4 || R == 8 || (R > 4 && ByLine));
  const float* q = a.q + row * padded(a.dim);
  float* s = a.s + row * block_keys;
  if constexpr (!ByLine)
    if (a.dim % score_lanes != 0) return dot_tile<E, R, vec8, 1, false, false, false>(a, q, s, fetch);
  constexpr bool shuffles = E == element::bf16;  // widens otherwise where registers are whole
  if constexpr (share)
    if (!a.halves_registers || (R == 8 && !shuffles))
      return dot_even_rows<E, R, rows_vec, ByLine, true>(a, q, s, fetch);
  if constexpr (share && R == 8 && shuffles) dot_even_rows<E, R, rows_vec, ByLine, false>(a, q, s, fetch);
  else if constexpr (!share || R < 8) dot_even_rows<E, R, vec8, ByLine, false>(a, q, s, fetch);
}

/// Up to so many rows, from 2 on, prefetch line by line: measured, but for targets of 4 lanes, which compile sooner.
template <element E>
constexpr int rows_by_line() {
  if (width == 16) return 8;
  return width == 8 && E == element::f32 ? 4 : 0;
}

/// n rows from `row` on. A single row comes here only where keys are unevenly spaced or end inside a step.
template <element E, bool ByLine>
GQA_INLINE void dot_rows_at(const score_args& a, std::int64_t row, std::int64_t n, key_mask fetch) {
  static_assert(dot_rows.each <= dot_rows.alone && dot_rows.alone <= 8);
  constexpr std::int64_t most = ByLine ? rows_by_line<E>() : dot_rows.alone;
  switch (n) {
    case 8:
      if constexpr (most >= 8) dot_rows_of<E, 8, ByLine>(a, row, fetch);
      break;
    case 7:
      if constexpr (most >= 7) dot_rows_of<E, 7, ByLine>(a, row, fetch);
      break;
    case 6:
      if constexpr (most >= 6) dot_rows_of<E, 6, ByLine>(a, row, fetch);
      break;
    case 5:
      if constexpr (most >= 5) dot_rows_of<E, 5, ByLine>(a, row, fetch);
      break;
    case 4: dot_rows_of<E, 4, ByLine>(a, row, fetch); break;
    case 3: dot_rows_of<E, 3, ByLine>(a, row, fetch); break;
    case 2: dot_rows_of<E, 2, ByLine>(a, row, fetch); break;
    default:
      if constexpr (!ByLine) dot_rows_of<E, 1, false>(a, row, fetch);
  }
}

/// A single tile of few rows prefetches line by line where keys are evenly spaced and end with a step: it waits for
/// little else.
template <element E>
GQA_ENTRY void score_dot(const score_args& a) noexcept {
  static_assert(rows_by_line<E>() <= dot_rows.alone);
  const bool even = a.keys.stride != 0 && a.dim % score_lanes == 0;
  if (a.rows == 1 && even) return score_row<E>(a);
  if constexpr (rows_by_line<E>() > 0)
    if (a.rows <= rows_by_line<E>() && even) return dot_rows_at<E, true>(a, 0, a.rows, keys_of_tile(0, 1));
  int tiles = 0;
  for (std::int64_t row = 0; row < a.rows; row += dot_tile_rows(a.rows, row, dot_rows)) ++tiles;
  int tile = 0;
  for (std::int64_t row = 0, n; row < a.rows; row += n, ++tile) {
    n = dot_tile_rows(a.rows, row, dot_rows);
    dot_rows_at<E, false>(a, row, n, keys_of_tile(tile, tiles));
  }
}
