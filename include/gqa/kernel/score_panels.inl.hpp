// Scores of many rows, or of keys in tiles: outer products of rows with 16 keys at a time, from K in panels: packed
// once for many rows (pack.inl.hpp), by virtual lane, [8][padded dim / 8][16], or dim-major tiles as they lie,
// [dim][16]. As many virtual lanes of the contract are taken at once as there are registers for (lane l: d = l, l + 8,
// ...), and their sums join pairwise as they appear. Where that is all 8, a tile is read once, in the order it lies.
inline constexpr int panel_keys = 16;
inline constexpr int panel_vectors = panel_keys / width;
inline constexpr int wide = panel_vectors > 2 ? panel_vectors : 2;  // vectors of a wide register tile

/// Vector c of a tile: panel c / panel_vectors, then the lanes inside it.
template <element E>
GQA_INLINE const char* panel_vector(const char* const* panels, int c) {
  return panels[c / panel_vectors] + c % panel_vectors * width * size_of<E>;
}

/// acc += q * k of what lies at place `at` of both, for R rows and C vectors of keys.
template <element E, int R, int C>
GQA_INLINE void panel_step(const float* q, const char* const* panels, std::int64_t at, vec* acc) {
  vec x[C];
  GQA_UNROLL(4)
  for (int c = 0; c < C; ++c) x[c] = widen<E>(panel_vector<E>(panels, c) + at * (panel_keys * size_of<E>));
  GQA_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    const vec y = vset(q[at * row_tile + r]);
    GQA_UNROLL(4)
    for (int c = 0; c < C; ++c) acc[r * C + c] = vfma(y, x[c], acc[r * C + c]);
  }
}

/// Accumulators of a register tile.
template <element E>
inline constexpr int panel_sums = E == element::f32 ? panel_registers : widened_registers;

/// Virtual lanes that a tile of so many accumulators a lane has registers for.
template <element E>
constexpr int lanes_of_tile(int accumulators) {
  int lanes = (int)score_lanes;
  while (lanes > 1 && lanes * accumulators > panel_sums<E>) lanes /= 2;
  return lanes;
}

/// Up to so many rows read a panel in one pass: registers hold the sums of all their lanes.
template <element E>
inline constexpr int rows_in_one_pass = panel_sums<E> / (int)(score_lanes* panel_vectors);
static_assert(rows_in_one_pass<element::f32> < 2 || rows_in_one_pass<element::f32> > 3);  // see rows_of_tile

/// What is prefetched while panels are read that are not packed: those that come next, a line with each element of a
/// lane, `step` bytes on each time, and `back` bytes back after the last of the lanes taken at once. In the order they
/// lie, which memory answers sooner than the order of use, back is 0; in parts, a step leads to the next part. Where
/// step is 0, nothing is.
struct panels_ahead {
  const char* panels[wide / panel_vectors];
  std::int64_t step, back;
};

/// The first line of so many bytes and of each memory page in them: the rest comes by itself where they are read in
/// order.
GQA_INLINE void prefetch_first_lines(const char* p, std::int64_t bytes) {
  prefetch(p);
  for (std::int64_t at = memory_page_bytes - (std::int64_t)((std::uintptr_t)p % memory_page_bytes); at < bytes;
       at += memory_page_bytes)
    prefetch(p + at);
}

template <int C, bool Packed>
GQA_INLINE void prefetch_panels(panels_ahead& ahead) {
  if (Packed || ahead.step == 0) return;
  GQA_UNROLL(2)
  for (int j = 0; j < C / panel_vectors; ++j) {
    prefetch(ahead.panels[j]);
    ahead.panels[j] += ahead.step;
  }
}

/// Element i of L virtual lanes from `lane` on, each of n elements.
template <element E, int R, int C, int L, bool Packed>
GQA_INLINE void panel_lanes(const float* q, const char* const* panels, panels_ahead& ahead, std::int64_t lane,
                            std::int64_t i, std::int64_t n, vec* acc) {
  GQA_UNROLL(8)
  for (int l = 0; l < L; ++l) {
    const std::int64_t at = Packed ? (lane + l) * n + i : i * score_lanes + lane + l;
    prefetch_panels<C, Packed>(ahead);
    panel_step<E, R, C>(q, panels, at, acc + l * R * C);
  }
  for (int j = 0; !Packed && j < C / panel_vectors; ++j) ahead.panels[j] -= ahead.back;
}

template <element E, int R, int C, bool Packed>
GQA_INLINE void panel_tile(const float* q, const char* const* panels, panels_ahead& ahead, std::int64_t dim,
                           float scale, float* s) {
  constexpr int L = lanes_of_tile<E>(R * C), steps = (int)score_lanes / L;
  constexpr int at_once = Packed && L <= 2 ? 2 : 1;  // elements of a lane: the end of a short loop is foreseen
  const std::int64_t n = padded(dim) / score_lanes;
  vec part[3][R * C];  // sums of 1, 2 and 4 steps that wait for their partner
  for (int step = 0; step < steps; ++step) {
    vec acc[L * R * C];
    GQA_UNROLL(32)
    for (int i = 0; i < L * R * C; ++i) acc[i] = vzero();
    const std::int64_t lane = step * L, all = Packed ? n : (dim - lane + score_lanes - L) / score_lanes;
    std::int64_t i = 0;
    for (; i + at_once <= all; i += at_once) {
      GQA_UNROLL(4)
      for (int j = 0; j < at_once; ++j) panel_lanes<E, R, C, L, Packed>(q, panels, ahead, lane, i + j, n, acc);
    }
    for (; at_once > 1 && i < all; ++i) panel_lanes<E, R, C, L, Packed>(q, panels, ahead, lane, i, n, acc);
    GQA_UNROLL(8)
    for (int l = 0; !Packed && l < L - 1; ++l)  // the last elements of a head_dim that L does not divide
      if (const std::int64_t d = all * score_lanes + lane + l; d < dim) {
        prefetch_panels<C, Packed>(ahead);
        panel_step<E, R, C>(q, panels, d, acc + l * R * C);
      }
    GQA_UNROLL(4)
    for (int left = L / 2; left > 0; left /= 2) {
      GQA_UNROLL(4)
      for (int l = 0; l < left; ++l) {
        GQA_UNROLL(32)
        for (int j = 0; j < R * C; ++j) acc[l * R * C + j] = acc[2 * l * R * C + j] + acc[(2 * l + 1) * R * C + j];
      }
    }
    if (step & 1) {
      GQA_UNROLL(32)
      for (int i = 0; i < R * C; ++i) acc[i] = part[0][i] + acc[i];
    }
    if ((step & 3) == 3) {
      GQA_UNROLL(32)
      for (int i = 0; i < R * C; ++i) acc[i] = part[1][i] + acc[i];
    }
    if (step == 7) {
      GQA_UNROLL(32)
      for (int i = 0; i < R * C; ++i) acc[i] = part[2][i] + acc[i];
    }
    if (step == steps - 1) {
      GQA_UNROLL(16)
      for (int r = 0; r < R; ++r) {
        GQA_UNROLL(4)
        for (int c = 0; c < C; ++c) vstore(s + r * block_keys + c * width, acc[r * C + c] * vset(scale));
      }
    } else {
      vec* waiting = part[(step & 1) ? (step & 2) ? 2 : 1 : 0];
      GQA_UNROLL(32)
      for (int i = 0; i < R * C; ++i) waiting[i] = acc[i];
    }
  }
}

/// Rows of the register tile that begins at `row`, of so many: up to R.
template <int R>
GQA_INLINE std::int64_t rows_of_next(std::int64_t rows, std::int64_t row) {
  const std::int64_t all = rows - row, of_panel = row_tile - row % row_tile, left = all < of_panel ? all : of_panel;
  if (left >= R) return R;
  if (R > 4 && left >= 4) return 4;
  return R == 4 && left == 3 ? 3 : left >= 2 ? 2 : 1;
}

/// All rows against C vectors of keys, in register tiles of up to R rows. The first two prefetch what is ahead, each
/// its part: all at once would hold up the first one's arithmetic. Of first lines nothing is left to them.
template <element E, int R, int C, bool Packed>
GQA_INLINE void rows_in_tiles(const score_args& a, const char* const* panels, panels_ahead& ahead, float* s) {
  const std::int64_t padded_dim = padded(a.dim), first = rows_of_next<R>(a.rows, 0);
  const std::int64_t asking = first < a.rows ? first + rows_of_next<R>(a.rows, first) : first;
  for (std::int64_t row = 0, n; row < a.rows; row += n) {
    n = rows_of_next<R>(a.rows, row);
    const std::int64_t inside = row % row_tile;
    const float* q = a.q + (row - inside) * padded_dim + inside;
    float* t = s + row * block_keys;
    if (ahead.back == 0)
      ahead.step = row < asking && !a.first_lines ? (panel_keys * size_of<E> * n + asking - 1) / asking : 0;
    if (n == R) panel_tile<E, R, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
    else if (R > 4 && n == 4) panel_tile<E, 4, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
    else if (R == 4 && n == 3) panel_tile<E, 3, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
    else if (n == 2) panel_tile<E, 2, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
    else panel_tile<E, 1, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
  }
}

/// Rows of a register tile of C vectors: as many as leave registers for all lanes, so that no sum waits in memory;
/// where that would be fewer than 4, score_rows.
template <element E, int C>
constexpr int rows_of_tile() {
  constexpr int of_all_lanes = panel_sums<E> / (int)(score_lanes * C);
  return of_all_lanes >= 4 ? of_all_lanes : score_rows;
}

/// Half as many rows leave registers for twice as many lanes: fewer sums wait in memory, and storing what is not summed
/// yet holds up the processor. That pays while panels are packed and stay in the first level of cache, since they are
/// read twice as often.
template <element E, int C, bool Packed>
GQA_INLINE void panel_rows(const score_args& a, const char* const* panels, panels_ahead& ahead, float* s) {
  constexpr int R = rows_of_tile<E, C>();
  constexpr bool half_rows = Packed && lanes_of_tile<E>(R * C) == 1;
  const std::int64_t bytes = a.dim * C * width * size_of<E>;
  if (half_rows && bytes <= 16 * 1024) rows_in_tiles<E, half_rows ? R / 2 : R, C, Packed>(a, panels, ahead, s);
  else rows_in_tiles<E, R, C, Packed>(a, panels, ahead, s);
}

/// Panels i, i + 1, ... of C vectors.
template <element E, int C, bool Packed>
GQA_INLINE void panels_at(const score_args& a, std::int64_t i) {
  constexpr int n = C / panel_vectors;
  const char* k[n];
  panels_ahead ahead{};
  if (const std::int64_t part = a.keys.ahead.spread; !Packed && part > 1) {
    ahead.step = part;
    ahead.back = score_lanes * part - panel_keys * size_of<E>;
  }
  for (int j = 0; j < n; ++j) {
    k[j] = row(a.keys, i + j);
    if (!Packed) ahead.panels[j] = row(a.keys.ahead, i + j);
    if (!Packed && a.first_lines) prefetch_first_lines(ahead.panels[j], a.dim * panel_keys * size_of<E>);
  }
  panel_rows<E, C, Packed>(a, k, ahead, a.s + i * panel_keys);
}

/// One offset a panel, or tile: `count` is a number of keys, a multiple of 16. Two panels share what is loaded of q,
/// which a processor of whole registers needs to keep up with its arithmetic, unless 2 to 4 rows read tiles as they
/// lie: one at a time in fewer passes. A single row that asks for every line reads two streams, which memory answers
/// sooner.
template <element E, bool Packed>
GQA_INLINE void score_columns(const score_args& a) {
  const std::int64_t panels = a.keys.count / panel_keys;
  constexpr int together = wide / panel_vectors;  // panels of a wide tile
  const bool several =
      together == 1 || (a.rows == 1 && !a.first_lines) || (!a.halves_registers && (Packed || a.rows > 4));
  std::int64_t i = 0;
  for (; several && i + together <= panels; i += together) panels_at<E, wide, Packed>(a, i);
  if constexpr (together > 1)
    for (; i < panels; ++i) panels_at<E, panel_vectors, Packed>(a, i);
}

/// Keys in dim-major tiles, as they lie; those to come are prefetched.
template <element E>
GQA_ENTRY void score_tiles(const score_args& a) noexcept {
  score_columns<E, false>(a);
}

/// Keys in packed panels.
GQA_ENTRY void score_panels(const score_args& a) noexcept { score_columns<element::f32, true>(a); }
