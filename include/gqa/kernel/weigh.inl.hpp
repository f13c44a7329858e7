// o += P . V: a register tile of rows x vectors of one value row stays in accumulators while the keys go by in order,
// so that each output element is one fma chain over keys.

// Vectors of a value that a single row takes at once: a wide tile hides the latency of its chains.
inline constexpr int value_vectors = 8;
inline constexpr std::int64_t value_columns = value_vectors * width;

/// The same for 2 to 4 rows, as measured: wide tiles broadcast fewer weights and hide more latency, as far as there are
/// registers, of which 16-bit values may need some to widen; 2 and 4 rows of f32 on AVX-512, bound by reading, gain
/// from narrow ones, which bring the next piece of a value (values_ahead::beside), unless they prefetch in parts.
template <element E, int R>
constexpr int few_vectors() {
  if (width == 16) return E == element::f32 && R != 3 ? 2 : 4;
  if (width == 8) return R == 2 || (R == 3 && E == element::f32) ? 4 : 3;
  return 2;
}

/// How a tile prefetches: `step` bytes from value to value, `spread` from byte to byte; where few rows take values that
/// lie apart in pieces, the next one, `beside` bytes further, comes along: asked for a part of each value only, the
/// hardware would not follow.
struct values_ahead {
  std::int64_t step, spread, beside;
  bool first_level;
};

/// What is prefetched with C vectors of a value at v.
template <element E, int R, int C>
GQA_INLINE void prefetch_value(const char* v, const char* ahead, const values_ahead& next) {
  constexpr int bytes = C * width * size_of<E>;
  GQA_UNROLL(8)
  for (int at = 0; at < bytes; at += line_bytes) prefetch_for<E, R>(ahead + at * next.spread, next.first_level);
  if (R > memory.beside_rows || next.beside == 0) return;
  GQA_UNROLL(8)
  for (int at = 0; at < bytes; at += line_bytes) {
    prefetch_for<E, R>(ahead + next.beside + at, next.first_level);
    if (R == 1) prefetch_next(v + next.beside + at);
  }
}

/// Whether a tile takes its columns in pairs as they widen best, out of order, for which it takes its sums apart and
/// puts them together in the end: measured.
template <int R, int C>
inline constexpr bool apart = C % 2 == 0 && (R == 1 || width == 16);

/// acc[r * C + c] += p[r] * vector c of the value at v; of its last `elements`, where it is partial. A single row uses
/// vectors as soon as they are widened, so that few registers hold them.
template <element E, int R, int C, bool Partial>
GQA_INLINE void weigh_value(const char* v, const float* p, std::int64_t elements, vec* acc) {
  static_assert(!Partial || C == 1);
  constexpr int n = R > 1 ? C : C % 2 == 0 ? 2 : 1;
  constexpr int busy = R * C + n + 1;  // registers: sums, vectors and a weight
  GQA_UNROLL(4)
  for (int i = 0; i < C; i += n) {
    vec x[n];
    if constexpr (apart<R, C>) {
      GQA_UNROLL(4)
      for (int c = 0; c < n; c += 2) widen_apart<E>(v + (i + c) * width * size_of<E>, x[c], x[c + 1]);
    } else {
      GQA_UNROLL(8)
      for (int c = 0; c < n; ++c)
        x[c] = Partial ? widen_partial<E>(v, elements) : widen<E, busy>(v + (i + c) * width * size_of<E>);
    }
    GQA_UNROLL(16)
    for (int r = 0; r < R; ++r) {
      const vec y = vset(p[r * block_keys]);
      GQA_UNROLL(8)
      for (int c = 0; c < n; ++c) acc[r * C + i + c] = vfma(y, x[c], acc[r * C + i + c]);
    }
  }
}

/// What a tile of rows prefetches while it reads values.
enum class fetch {
  all,    // one value's part with each
  share,  // its share, where other tiles read them too
  none    // nothing: they are packed, others ask, or the hardware does
};

/// Values that a tile takes at once, as far as there are registers, of which compilers use more to widen 16 bits:
/// measured.
template <element E, int R, int C, fetch F>
constexpr int values_at_once() {
  if (F == fetch::all) return E != element::f32 && R > 2 && R * C <= 8 ? 2 : 1;
  return R * C + (E == element::f32 ? 0 : C / 2 + 1) <= 2 * row_tile ? 2 : 1;
}

/// Which values' parts a tile of rows prefetches: of each `of`, one, after `before` more.
struct value_share {
  int of = 1, before = 0;
};

/// Of `tiles` of rows, each of the first four takes a share, evenly through the values: all at once would hold up the
/// first one's arithmetic, since a processor follows some 20 lines at a time.
GQA_INLINE value_share share_of(int tile, int tiles) {
  const int of = tiles < 4 ? tiles : 4;
  return {of, tile < of ? tile : INT32_MAX};
}

/// The values of one run, weighed by p[0], p[1], ..., and parts of what is ahead prefetched.
template <element E, int R, int C, bool Partial, fetch F>
GQA_INLINE void weigh_run(row_run run, std::int64_t stride, const values_ahead& next, value_share& share,
                          const float* p, std::int64_t elements, vec* acc) {
  constexpr int n = values_at_once<E, R, C, F>();
  const float* end = p + run.count;
  if (F == fetch::share && share.before < run.count) run.ahead += share.before * next.step;
  for (; end - p >= n; p += n, run.row += n * stride) {
    if (F == fetch::all) {
      GQA_UNROLL(2)
      for (int i = 0; i < n; ++i, run.ahead += next.step) prefetch_value<E, R, C>(run.row, run.ahead, next);
    }
    if (F == fetch::share) {
      for (share.before -= n; share.before < 0; share.before += share.of, run.ahead += share.of * next.step)
        prefetch_value<E, R, C>(run.row, run.ahead, next);
    }
    if (F != fetch::none) prefetches_first();
    GQA_UNROLL(2)
    for (int i = 0; i < n; ++i) weigh_value<E, R, C, Partial>(run.row + i * stride, p + i, elements, acc);
  }
  if (p == end) return;
  if (F == fetch::all || (F == fetch::share && --share.before < 0)) {
    prefetch_value<E, R, C>(run.row, run.ahead, next);
    share.before += share.of;
  }
  weigh_value<E, R, C, Partial>(run.row, p, elements, acc);
}

/// All values of a, run by run.
template <element E, int R, int C, bool Partial, fetch F>
GQA_INLINE void weigh_runs(const weigh_args& a, const float* p, value_share share, std::int64_t column,
                           std::int64_t elements, vec* acc) {
  const std::int64_t at = column * size_of<E>, in_line = at % line_bytes, stride = a.values.stride;
  // Rows that touch are asked for in the order they lie, piece after piece, or in parts, each line of a row from the
  // part of its number; of rows that lie apart, these columns.
  const rows_ahead& ahead = a.values.ahead;
  const bool by_parts = ahead.spread > 1, touch = !by_parts && ahead.stride == a.dim * size_of<E>;
  constexpr std::int64_t piece = C * width * size_of<E>;
  const bool beside = F == fetch::all && a.dim > C * width && !touch && !by_parts;
  const values_ahead next{touch ? piece : ahead.stride, ahead.spread, beside ? piece : 0, ahead.first_level};
  for (std::int64_t i = 0; i < a.values.count;) {
    row_run run = run_from(a.values, i);
    run.row += at;
    if (F != fetch::none)  // packed ones have nothing ahead
      run.ahead += touch ? at * run.count : (at - in_line) * ahead.spread + in_line;
    weigh_run<E, R, C, Partial, F>(run, stride, next, share, p + i, elements, acc);
    i += run.count;
  }
}

/// R rows against C vectors of all values.
template <element E, int R, int C, bool Partial, fetch F>
GQA_INLINE void weigh_tile(const weigh_args& a, const float* p, value_share share, std::int64_t column,
                           std::int64_t elements, float* o) {
  vec acc[R * C];
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) acc[r * C + c] = vload(o + r * a.o_stride + c * width);
  }
  constexpr int pairs = apart<R, C> ? R * C / 2 : 0;
  GQA_UNROLL(16)
  for (int i = 0; i < pairs; ++i) take_apart<E>(acc[2 * i], acc[2 * i + 1]);
  weigh_runs<E, R, C, Partial, F>(a, p, share, column, elements, acc);
  GQA_UNROLL(16)
  for (int i = 0; i < pairs; ++i) put_together<E>(acc[2 * i], acc[2 * i + 1]);
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    GQA_UNROLL(8)
    for (int c = 0; c < C; ++c) vstore(o + r * a.o_stride + c * width, acc[r * C + c]);
  }
}

/// Rows of the tiles that follow those of R: few sizes for the last columns, and fewer where values are packed, which
/// is for many rows.
template <int R, int C, bool Partial, fetch F>
constexpr int smaller_tile() {
  if (C == 1) return R > 4 ? 4 : R / (Partial ? 4 : 2);
  if (R > 8) return 8;
  return R > 4 && F == fetch::none ? 4 : R - 1;
}

/// The rows from `row` on against C vectors of each value, after `tile` tiles, of which there are at least `tiles`, of
/// up to R rows. A large tile leaves at least three rows, or none: the chains of fewer would not hide their latency.
template <element E, int R, int C, bool Partial, fetch F>
GQA_INLINE void weigh_rows_from(const weigh_args& a, std::int64_t row, int tile, int tiles, std::int64_t column) {
  for (std::int64_t left = a.rows - row; left == R || left >= R + (R > 4 ? 3 : 0); left -= R, row += R, ++tile)
    weigh_tile<E, R, C, Partial, F>(a, a.p + row * block_keys, share_of(tile, tiles), column, a.dim - column,
                                    a.o + row * a.o_stride + column);
  // A share has 5 rows or more (weigh), of which tiles of 6 or more never leave 1 or 2; those of 4 x 3 leave none.
  static_assert((row_tile == 4 || row_tile >= 6) && (wide_rows <= 4 || wide_rows >= 6));
  constexpr int least = C > 1 && F == fetch::share && row_tile > 4 ? 3 : 1;
  constexpr int next = smaller_tile<R, C, Partial, F>();
  if constexpr (next >= least) weigh_rows_from<E, next, C, Partial, F>(a, row, tile, tiles, column);
}

/// All rows.
template <element E, int R, int C, bool Partial, fetch F>
GQA_INLINE void weigh_rows(const weigh_args& a, std::int64_t column) {
  weigh_rows_from<E, R, C, Partial, F>(a, 0, 0, (int)((a.rows + R - 1) / R), column);
}

/// Whether the next tile takes C vectors of so many columns. Three leave two or more, or none: one alone would wait.
template <int C>
GQA_INLINE bool takes(std::int64_t columns) {
  const std::int64_t vectors = columns / width;
  return C == 3 ? vectors == 3 || vectors >= 5 : vectors >= C;
}

/// Whether rows had best take values in wide tiles, which read least for each multiplication. Those of 4 rows only if
/// rows are a multiple; the larger ones unless one narrow tile has all rows (see smaller_tile) and values are f32 in
/// the second level of cache, which it then reads once. Packed values lie in the first. Measured.
template <element E, fetch F>
GQA_INLINE bool wide_tiles_pay(std::int64_t rows) {
  if (wide_rows <= 4) return rows % 4 == 0;
  const bool one_narrow = rows == row_tile || (rows > wide_rows && rows <= 8);
  return E != element::f32 || F == fetch::none || !one_narrow;
}

/// Columns in wide tiles as far as they go, if they pay. Not inlined, as dot_tile.
template <element E, fetch F>
GQA_ENTRY void weigh_many(const weigh_args& a) noexcept {
  constexpr int R = wide_rows, C = wide_vectors;
  std::int64_t column = 0;
  if constexpr (R > 4 || (R == 4 && E != element::f32))
    if (wide_tiles_pay<E, F>(a.rows))
      for (; takes<C>(a.dim - column); column += C * width) weigh_rows<E, R, C, false, F>(a, column);
  for (; column + 2 * width <= a.dim; column += 2 * width) weigh_rows<E, row_tile, 2, false, F>(a, column);
  for (; column + width <= a.dim; column += width) weigh_rows<E, row_tile, 1, false, F>(a, column);
  if (column < a.dim) weigh_rows<E, 4, 1, true, F>(a, column);
}

/// R rows, up to 4, in tiles of C vectors as far as they go. Not inlined, as dot_tile.
template <element E, int R, int C, fetch F = fetch::all>
GQA_ENTRY void weigh_few(const weigh_args& a) noexcept {
  const float* p = a.p;
  float* o = a.o;
  std::int64_t column = 0;
  for (; takes<C>(a.dim - column); column += C * width) weigh_tile<E, R, C, false, F>(a, p, {}, column, 0, o + column);
  if constexpr (C > 4)
    for (; column + 4 * width <= a.dim; column += 4 * width)
      weigh_tile<E, R, 4, false, F>(a, p, {}, column, 0, o + column);
  if constexpr (C > 2)
    for (; column + 2 * width <= a.dim; column += 2 * width)
      weigh_tile<E, R, 2, false, F>(a, p, {}, column, 0, o + column);
  for (; column + width <= a.dim; column += width) weigh_tile<E, R, 1, false, F>(a, p, {}, column, 0, o + column);
  if (column < a.dim) weigh_tile<E, R, 1, true, F>(a, p, {}, column, a.dim - column, o + column);
}

/// 2 to 4 rows.
template <element E, int R>
GQA_INLINE void weigh_together(const weigh_args& a) {
  constexpr int C = few_vectors<E, R>();
  if constexpr (width == 16 && C < 4)
    if (a.values.ahead.spread > 1) return weigh_few<E, R, 4>(a);
  weigh_few<E, R, C>(a);
}

template <element E>
GQA_ENTRY void weigh(const weigh_args& a) noexcept {
  constexpr int widest = value_vectors;
  switch (a.rows) {
    case 1: return reads_ahead(a.values) ? weigh_few<E, 1, widest>(a) : weigh_few<E, 1, widest, fetch::none>(a);
    case 2: return weigh_together<E, 2>(a);
    case 3: return weigh_together<E, 3>(a);
    case 4: return weigh_together<E, 4>(a);
    default: return weigh_many<E, fetch::share>(a);
  }
}

GQA_ENTRY void weigh_packed(const weigh_args& a) noexcept { weigh_many<element::f32, fetch::none>(a); }
