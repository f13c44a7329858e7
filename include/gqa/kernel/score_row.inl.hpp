// Scores of a single row: q . k of 8 evenly spaced keys at a time, of whole groups of 8 elements. Lane l of 8 is
// virtual lane l of the contract. Each key is one chain of fmas, which waits for its own last sum, so that all 8 keys
// are in work at once: a piece of each after the other or, where reading from end to end suits memory better, as many
// whole keys as the processor sees ahead.

/// acc + the products of Steps times 8 elements.
template <element E, int Steps>
GQA_INLINE vec8 dot_piece(const vec8* q, const char* k, vec8 acc) {
  GQA_UNROLL(8)
  for (int i = 0; i < Steps; ++i) acc = fma8(q[i], widen8<E>(k + i * 8 * size_of<E>), acc);
  return acc;
}

template <int Steps>
GQA_INLINE void load_piece(const float* q, vec8 (&x)[Steps]) {
  GQA_UNROLL(8)
  for (int i = 0; i < Steps; ++i) x[i] = load8(q + i * 8);
}

/// The products of all of q with one key.
template <element E>
GQA_INLINE vec8 dot_whole_key(const float* q, const char* k, std::int64_t dim) {
  constexpr int steps = 8;
  vec8 acc{};
  std::int64_t d = 0;
  for (; d + 8 * steps <= dim; d += 8 * steps) {
    vec8 x[steps];
    load_piece(q + d, x);
    acc = dot_piece<E, steps>(x, k + d * size_of<E>, acc);
  }
  for (; d < dim; d += 8) {
    vec8 x[1];
    load_piece(q + d, x);
    acc = dot_piece<E, 1>(x, k + d * size_of<E>, acc);
  }
  return acc;
}

/// acc[c] += the products of Steps times 8 elements of key c, of 8. If Fetch, each line of a key brings one, `spread`
/// apart, from ahead + c * ahead_stride on.
template <element E, int Steps, bool Fetch>
GQA_INLINE void dot_pieces(const float* q, const char* k, std::int64_t stride, const char* ahead,
                           std::int64_t ahead_stride, std::int64_t spread, vec8* acc) {
  vec8 x[Steps];
  load_piece(q, x);
  GQA_UNROLL(8)
  for (int c = 0; c < row_group; ++c, k += stride, ahead += ahead_stride) {
    GQA_UNROLL(2)
    for (int at = 0; Fetch && at < Steps * 8 * size_of<E>; at += line_bytes)
      prefetch(at == 0 ? ahead : ahead + at * spread);
    acc[c] = dot_piece<E, Steps>(x, k, acc[c]);
  }
}

template <element E, bool Fetch>
GQA_INLINE void dot_piece_by_piece(const score_args& a, const row_run& run, vec8* acc) {
  constexpr int steps = 4;  // one line or two
  const std::int64_t stride = a.keys.stride, ahead_stride = a.keys.ahead.stride, spread = a.keys.ahead.spread;
  std::int64_t d = 0;
  for (; d + 8 * steps <= a.dim; d += 8 * steps) {
    const std::int64_t at = d * size_of<E>;
    dot_pieces<E, steps, Fetch>(a.q + d, run.row + at, stride, run.ahead + at * spread, ahead_stride, spread, acc);
  }
  for (; d < a.dim; d += 8) {
    const std::int64_t at = d * size_of<E>;
    const char* ahead = run.ahead + at * spread;
    if (Fetch && at % line_bytes == 0)
      dot_pieces<E, 1, true>(a.q + d, run.row + at, stride, ahead, ahead_stride, spread, acc);
    else dot_pieces<E, 1, false>(a.q + d, run.row + at, stride, ahead, ahead_stride, spread, acc);
  }
}

/// Lane i: the sum of x[i]'s lanes, in the contract's order.
GQA_INLINE vec8 add_lanes8(const vec8* x) {
  const vec8 low = add_pairs8(add_pairs8(x[0], x[1]), add_pairs8(x[2], x[3]));
  const vec8 high = add_pairs8(add_pairs8(x[4], x[5]), add_pairs8(x[6], x[7]));
  return add_halves8(low, high);
}

template <element E, bool InTurn, bool Fetch>
GQA_INLINE void dot_row(const score_args& a) {
  row_run next = run_from(a.keys, 0);
  for (std::int64_t key = 0; key < a.keys.count; key += row_group) {
    const row_run run = next;
    if (key + row_group < a.keys.count) next = run_from(a.keys, key + row_group);  // early: what it looks up takes time
    vec8 acc[row_group] = {};
    if constexpr (InTurn) {
      GQA_UNROLL(8)
      for (int c = 0; c < row_group; ++c) acc[c] = dot_whole_key<E>(a.q, run.row + c * a.keys.stride, a.dim);
    } else {
      dot_piece_by_piece<E, Fetch>(a, run, acc);
    }
    store8(a.s + key, scale8(add_lanes8(acc), a.scale));
  }
}

/// Left to the hardware's own prefetchers are keys read in turn, keys with which nothing else is asked for, and all
/// keys of targets whose single rows do not gain by asking.
template <element E>
GQA_ENTRY void score_row(const score_args& a) noexcept {
  if (a.in_turn) return dot_row<E, true, false>(a);
  if constexpr (memory.single_rows)
    if (reads_ahead(a.keys)) return dot_row<E, false, true>(a);
  dot_row<E, false, false>(a);
}
