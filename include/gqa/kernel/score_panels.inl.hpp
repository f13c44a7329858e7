// Scores of many rows, or of keys in tiles: outer products of rows with 16 keys at a time, from K in panels: packed
// once for many rows (pack.inl.hpp), by virtual lane, [8][padded dim / 8][16], or dim-major tiles as they lie,
// [dim][16]. As many virtual lanes of the contract are taken at once as there are registers for (lane l: d = l, l + 8,
// ...), and their sums join pairwise as they appear: one row takes all 8, and so reads a tile in the order it lies.
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

/// Virtual lanes that a tile of so many accumulators a lane has registers for.
constexpr int lanes_of_tile(int accumulators) {
  int lanes = (int)score_lanes;
  while (lanes > 1 && lanes * accumulators > panel_registers) lanes /= 2;
  return lanes;
}

/// Element i of L virtual lanes from `lane` on, each of n elements; of the panels `ahead`, if any, the next lines in
/// the order they lie are prefetched: memory answers that sooner than the order of use.
template <element E, int R, int C, int L, bool Packed>
GQA_INLINE void panel_lanes(const float* q, const char* const* panels, const char* const* ahead, std::int64_t lane,
                            std::int64_t i, std::int64_t n, vec* acc) {
  GQA_UNROLL(8)
  for (int l = 0; l < L; ++l) {
    const std::int64_t at = Packed ? (lane + l) * n + i : i * score_lanes + lane + l;
    if (!Packed && ahead) {
      GQA_UNROLL(4)
      for (int c = 0; c < C; c += panel_vectors)
        prefetch(panel_vector<E>(ahead, c) + (lane * n + i * L + l) * (panel_keys * size_of<E>));
    }
    panel_step<E, R, C>(q, panels, at, acc + l * R * C);
  }
}

template <element E, int R, int C, bool Packed>
GQA_INLINE void panel_tile(const float* q, const char* const* panels, const char* const* ahead, std::int64_t dim,
                           float scale, float* s) {
  constexpr int L = lanes_of_tile(R * C), steps = (int)score_lanes / L;
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
      if (const std::int64_t d = all * score_lanes + lane + l; d < dim)
        panel_step<E, R, C>(q, panels, d, acc + l * R * C);
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

/// All rows against C vectors of keys, in register tiles of up to R rows.
template <element E, int R, int C, bool Packed>
GQA_INLINE void rows_in_tiles(const score_args& a, const char* const* panels, const char* const* ahead, float* s) {
  const std::int64_t padded_dim = padded(a.dim);
  for (std::int64_t row = 0; row < a.rows;) {
    const std::int64_t inside = row % row_tile,
                       left = a.rows - row < row_tile - inside ? a.rows - row : row_tile - inside;
    const float* q = a.q + (row - inside) * padded_dim + inside;
    float* t = s + row * block_keys;
    if (left >= R) {
      panel_tile<E, R, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
      row += R;
    } else if (R > 4 && left >= 4) {
      panel_tile<E, 4, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
      row += 4;
    } else if (left >= 2) {
      panel_tile<E, 2, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
      row += 2;
    } else {
      panel_tile<E, 1, C, Packed>(q, panels, ahead, a.dim, a.scale, t);
      row += 1;
    }
    ahead = nullptr;  // the first rows have fetched what comes next
  }
}

/// Half as many rows leave registers for twice as many lanes: fewer sums wait in memory, and storing what is not summed
/// yet holds up the processor. That pays while panels are packed and stay in the first level of cache, since they are
/// read twice as often.
template <element E, int C, bool Packed>
GQA_INLINE void panel_rows(const score_args& a, const char* const* panels, const char* const* ahead, float* s) {
  constexpr bool halves = Packed && lanes_of_tile(score_rows * C) == 1;
  const std::int64_t bytes = a.dim * C * width * size_of<E>;
  if (halves && bytes <= 16 * 1024)
    rows_in_tiles<E, halves ? score_rows / 2 : score_rows, C, Packed>(a, panels, ahead, s);
  else rows_in_tiles<E, score_rows, C, Packed>(a, panels, ahead, s);
}

/// One offset a panel, or tile: `count` is a number of keys, a multiple of 16.
template <element E, bool Packed>
GQA_INLINE void score_columns(const score_args& a) {
  const std::int64_t panels = a.keys.count / panel_keys;
  constexpr int together = wide / panel_vectors;  // panels of a wide tile
  std::int64_t i = 0;
  // 2 to 4 rows have registers for more lanes of a single tile, and so read it in fewer passes.
  const bool several = together == 1 || a.rows == 1 || a.rows > 4;
  for (; several && i + together <= panels; i += together) {
    const char *k[together], *ahead[together];
    for (int j = 0; j < together; ++j) {
      k[j] = row(a.keys, i + j);
      ahead[j] = Packed ? nullptr : row(a.keys.ahead, i + j);
    }
    panel_rows<E, wide, Packed>(a, k, ahead, a.s + i * panel_keys);
  }
  if constexpr (together > 1)
    for (; i < panels; ++i) {
      const char* k = row(a.keys, i);
      const char* ahead = Packed ? nullptr : row(a.keys.ahead, i);
      panel_rows<E, panel_vectors, Packed>(a, &k, &ahead, a.s + i * panel_keys);
    }
}

/// Keys in dim-major tiles, as they lie; those to come are prefetched.
template <element E>
GQA_ENTRY void score_tiles(const score_args& a) noexcept {
  score_columns<E, false>(a);
}

/// Keys in packed panels.
GQA_ENTRY void score_panels(const score_args& a) noexcept { score_columns<element::f32, true>(a); }
