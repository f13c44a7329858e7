// Tiles that many rows share are widened once into f32 scratch: keys as panels by virtual lane, [8][padded dim /
// 8][16], zero from dim on, values as rows; and the rows that share them: q as panels of row_tile rows.

/// 8 keys x `dim` into columns of a panel.
template <element E>
GQA_INLINE void pack_eight(const row_set& keys, std::int64_t first, std::int64_t dim, float* panel) {
  const std::int64_t padded_dim = padded(dim);
  row_run k[8];
  for (int i = 0; i < 8; ++i) k[i] = row_at(keys, first + i);
  for (std::int64_t d = 0; d < dim; d += 8) {
    vec8 x[8];
    const std::int64_t at = d * size_of<E>;
    if (at % line_bytes == 0)
      for (int i = 0; i < 8; ++i) prefetch(k[i].ahead + at);
    if (dim - d >= 8) {
      GQA_UNROLL(8)
      for (int i = 0; i < 8; ++i) x[i] = widen8<E>(k[i].row + at);
    } else {
      for (int i = 0; i < 8; ++i) x[i] = widen8_tail<E>(k[i].row + at, dim - d);
    }
    transpose8(x);
    GQA_UNROLL(8)
    for (int i = 0; i < 8; ++i) store8(panel + place_by_lane(d + i, padded_dim) * 16, x[i]);
  }
}

template <element E>
GQA_ENTRY void pack_rows(const row_set& keys, std::int64_t dim, float* panels) noexcept {
  const std::int64_t padded_dim = padded(dim);
  for (std::int64_t key = 0; key < keys.count; key += 8)
    pack_eight<E>(keys, key, dim, panels + key / 16 * padded_dim * 16 + key % 16);
}

/// From dim-major tiles, one offset a tile; `count` keys.
template <element E>
GQA_ENTRY void pack_tiles(const row_set& keys, std::int64_t dim, float* panels) noexcept {
  const std::int64_t padded_dim = padded(dim);
  for (std::int64_t tile = 0; tile < keys.count / 16; ++tile, panels += padded_dim * 16) {
    const char *k = row(keys, tile), *ahead = row(keys.ahead, tile);
    for (std::int64_t d = 0; d < padded_dim; ++d) {
      float* to = panels + place_by_lane(d, padded_dim) * 16;
      prefetch(ahead + d * 16 * size_of<E>);
      for (int i = 0; i < 16; i += width) vstore(to + i, d < dim ? widen<E>(k + (d * 16 + i) * size_of<E>) : vzero());
    }
  }
}

template <element E>
GQA_ENTRY void pack_values(const row_set& values, std::int64_t dim, float* rows, std::int64_t stride) noexcept {
  for (std::int64_t i = 0; i < values.count; ++i, rows += stride) {
    const row_run v = row_at(values, i);
    std::int64_t d = 0;
    for (; d + width <= dim; d += width) {
      if (d * size_of<E> % line_bytes == 0) prefetch(v.ahead + d * size_of<E> * values.ahead.spread);
      vstore(rows + d, widen<E>(v.row + d * size_of<E>));
    }
    for (; d < dim; ++d) rows[d] = widen_one<E>(v.row + d * size_of<E>);
  }
}

/// Whether every element is neither infinite nor NaN.
template <element E>
GQA_ENTRY bool values_finite(const row_set& values, std::int64_t dim) noexcept {
  ivec worst = viset(0);
  const ivec magnitude = viset(INT32_MAX), exponent = viset(0x7f800000);
  for (std::int64_t i = 0; i < values.count; ++i) {
    const row_run v = row_at(values, i);
    std::int64_t d = 0;
    for (; d + width <= dim; d += width)
      worst |= (ivec)((vbits(widen<E>(v.row + d * size_of<E>)) & magnitude) >= exponent);
    if (d < dim) worst |= (ivec)((vbits(widen_partial<E>(v.row + d * size_of<E>, dim - d)) & magnitude) >= exponent);
  }
  std::int32_t any = 0;
  for (int i = 0; i < width; ++i) any |= worst[i];
  return any == 0;
}

/// `count` rows of q, at most row_tile, as a panel [padded dim][row_tile], or by virtual lane, [8][padded dim / 8]
/// [row_tile], whose other columns nobody reads; as many rows of the next panel, `ahead`, are prefetched.
template <element Q>
GQA_ENTRY void pack_queries(const void* const* rows, const void* const* ahead, std::int64_t count, std::int64_t dim,
                            std::int64_t padded_dim, bool by_lane, float* panel) noexcept {
  static_assert(row_tile <= max_row_tile);
  constexpr int groups = (row_tile + 7) / 8;
  float x[8][8 * groups] = {};
  for (std::int64_t d = 0; d < padded_dim; d += 8) {
    if (d * size_of<Q> % line_bytes == 0)
      for (std::int64_t i = 0; i < count; ++i) prefetch_next((const char*)ahead[i] + d * size_of<Q>);
    for (std::int64_t first = 0; first < count; first += 8) {
      vec8 y[8];
      for (int i = 0; i < 8; ++i) {
        const char* p = (const char*)rows[first + i < count ? first + i : first] + d * size_of<Q>;
        y[i] = dim - d >= 8 ? widen8<Q>(p) : widen8_tail<Q>(p, dim - d);
      }
      transpose8(y);
      for (int i = 0; i < 8; ++i) store8(x[i] + first, y[i]);
    }
    for (int i = 0; i < 8; ++i) {
      const std::int64_t at = by_lane ? place_by_lane(d + i, padded_dim) : d + i;
      __builtin_memcpy(panel + at * row_tile, x[i], row_tile * sizeof(float));
    }
  }
}
