// Prefetch, and rows of elements. A row's last elements are read one by one, never past its end.

/// Into the second level of cache: what comes next would push what is being read out of the first.
GQA_INLINE void prefetch(const char* p) { GQA_PREFETCH(p, 2); }

/// Into the first: what comes at once.
GQA_INLINE void prefetch_next(const char* p) { GQA_PREFETCH(p, 3); }

/// What R rows of E prefetch (rows_ahead::first_level).
template <element E, int R>
GQA_INLINE void prefetch_for(const char* p, bool first_level) {
  if (R <= size_of<E> && first_level) prefetch_next(p);
  else prefetch(p);
}

/// The first n < 16 elements at p, zeros behind them.
template <element E>
GQA_INLINE void widen_tail(const char* p, std::int64_t n, float (&out)[16]) {
  for (int i = 0; i < 16; ++i) out[i] = 0;
  for (std::int64_t i = 0; i < n; ++i) out[i] = widen_one<E>(p + i * size_of<E>);
}

template <element E>
GQA_INLINE vec8 widen8_tail(const char* p, std::int64_t n) {
  float x[16];
  widen_tail<E>(p, n, x);
  return load8(x);
}

template <element E>
GQA_INLINE vec widen_partial(const char* p, std::int64_t n) {
  float x[16];
  widen_tail<E>(p, n, x);
  return vload(x);
}

/// Keeps the compiler from moving reads that follow before the prefetches above: those that have to wait would hold
/// these up.
GQA_INLINE void prefetches_first() { asm volatile("" ::: "memory"); }

/// Where some row lies, what is prefetched with it, and how many rows, this one included, follow at `stride`.
///
/// Evenly spaced rows are reached by steps, not looked up one by one: a read whose address comes out of a table starts
/// late, and memory that is read in order loses a third of its speed.
struct row_run {
  const char *row, *ahead;
  std::int64_t count;
};
GQA_INLINE const char* row(const row_table& rows, std::int64_t i) { return rows.base + rows.offsets[i]; }
GQA_INLINE const char* row(const rows_ahead& rows, std::int64_t i) {
  return rows.base + (rows.offsets ? rows.offsets[i] : i * rows.stride);
}
GQA_INLINE row_run run_from(const row_set& rows, std::int64_t i) {
  const std::int64_t left = rows.count - i;
  return {row(rows, i), row(rows.ahead, i), left < rows.run ? left : rows.run};
}

/// Whether more is to be prefetched than what is read anyway.
GQA_INLINE bool reads_ahead(const row_set& rows) { return row(rows.ahead, 0) != row(rows, 0); }

/// Prefetches all that goes with one row of `dim` elements, which R rows read, from `p` on.
template <element E, int R>
GQA_INLINE void prefetch_row(const rows_ahead& ahead, const char* p, std::int64_t dim) {
  for (std::int64_t at = 0; at < dim * size_of<E>; at += line_bytes)
    prefetch_for<E, R>(p + at * ahead.spread, ahead.first_level);
}

/// Row i alone, a run of one.
GQA_INLINE row_run row_at(const row_set& rows, std::int64_t i) {
  const std::int64_t inside = rows.stride == 0 ? 0 : i % row_group, first = i - inside;
  return {row(rows, first) + inside * rows.stride, row(rows.ahead, first) + inside * rows.ahead.stride, 1};
}

/// Row first + i of the group that begins with `run`, at first.
GQA_INLINE const char* row_of(const row_set& rows, const row_run& run, std::int64_t first, int i) {
  return rows.stride == 0 ? row(rows, first + i) : run.row + i * rows.stride;
}

/// head_dim, up to whole groups of the contract's lanes: how far queries and panels are padded with zeros.
GQA_INLINE std::int64_t padded(std::int64_t dim) { return (dim + score_lanes - 1) / score_lanes * score_lanes; }

/// Where d stands in a panel by virtual lane, [8][padded dim / 8].
GQA_INLINE std::int64_t place_by_lane(std::int64_t d, std::int64_t padded_dim) {
  return d % score_lanes * (padded_dim / score_lanes) + d / score_lanes;
}

/// One row of q into its place in a tile of dot products: [padded dim / 8][rows of the tile][8].
template <element Q>
GQA_ENTRY void load_query(const void* source, std::int64_t dim, std::int64_t padded_dim, float* destination,
                          std::int64_t tile_rows) noexcept {
  const char* p = (const char*)source;
  for (std::int64_t d = 0; d < padded_dim; d += 8, destination += tile_rows * 8)
    store8(destination, d + 8 <= dim ? widen8<Q>(p + d * size_of<Q>) : widen8_tail<Q>(p + d * size_of<Q>, dim - d));
}
