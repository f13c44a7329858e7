// Scores of a single row: q . k of 8 evenly spaced keys at a time, of whole groups of 8 elements. Lane l of 8 is
// virtual lane l of the contract. Each key is one chain of fmas, which waits for its own last sum, so that all 8 keys
// are in work at once: a piece of each after the other or, where reading from end to end suits memory better, as many
// whole keys as the processor sees ahead.

/// acc + the products of Steps times 8 elements.
template <element E, int Steps>
GQA_INLINE vec8 dot_piece(const float* q, const char* k, vec8 acc) {
  constexpr int pairs = Steps / 2, step = 8 * size_of<E>;
  GQA_UNROLL(8)
  for (int i = 0; i < pairs; ++i, q += 16, k += 2 * step) {
    acc = fma8(load8(q), widen8<E, neighbour::next>(k), acc);
    acc = fma8(load8(q + 8), widen8<E, neighbour::previous>(k + step), acc);
  }
  if (Steps % 2) acc = fma8(load8(q), widen8<E>(k), acc);
  return acc;
}

/// The products of all of q with one key.
template <element E>
GQA_INLINE vec8 dot_whole_key(const float* q, const char* k, std::int64_t dim) {
  constexpr int steps = 8;
  vec8 acc{};
  std::int64_t d = 0;
  for (; d + 8 * steps <= dim; d += 8 * steps) acc = dot_piece<E, steps>(q + d, k + d * size_of<E>, acc);
  for (; d < dim; d += 8) acc = dot_piece<E, 1>(q + d, k + d * size_of<E>, acc);
  return acc;
}

/// acc[c] += the products of Steps times 8 elements of key c, of 8. If Fetch, each line of a key brings one, `spread`
/// apart as `next` says, from ahead + c * next.stride on.
template <element E, int Steps, bool Fetch>
GQA_INLINE void dot_pieces(const float* q, const char* k, std::int64_t stride, const char* ahead,
                           const rows_ahead& next, vec8* acc) {
  GQA_UNROLL(8)
  for (int c = 0; c < row_group; ++c, k += stride, ahead += next.stride) {
    GQA_UNROLL(2)
    for (int at = 0; Fetch && at < Steps * 8 * size_of<E>; at += line_bytes)
      prefetch_for<E, 1>(ahead + at * next.spread, next.first_level);
    acc[c] = dot_piece<E, Steps>(q, k, acc[c]);
  }
}

template <element E, bool Fetch>
GQA_INLINE void dot_piece_by_piece(const score_args& a, const row_run& run, vec8* acc) {
  constexpr int steps = 4;  // one line or two
  const std::int64_t stride = a.keys.stride;
  const rows_ahead next = a.keys.ahead;
  std::int64_t d = 0;
  for (; d + 8 * steps <= a.dim; d += 8 * steps) {
    const std::int64_t at = d * size_of<E>;
    dot_pieces<E, steps, Fetch>(a.q + d, run.row + at, stride, run.ahead + at * next.spread, next, acc);
  }
  for (; d < a.dim; d += 8) {
    const std::int64_t at = d * size_of<E>;
    const char* ahead = run.ahead + at * next.spread;
    if (Fetch && at % line_bytes == 0) dot_pieces<E, 1, true>(a.q + d, run.row + at, stride, ahead, next, acc);
    else dot_pieces<E, 1, false>(a.q + d, run.row + at, stride, ahead, next, acc);
  }
}

/// Lane i: the sum of accumulator i's lanes in the contract's order, from add_pairs8 of 0 and 1, 2 and 3, 4 and 5, 6
/// and 7.
GQA_INLINE vec8 lane_sums8(vec8 a, vec8 b, vec8 c, vec8 d) { return add_halves8(add_pairs8(a, b), add_pairs8(c, d)); }

template <element E, bool InTurn, bool Fetch>
GQA_INLINE void dot_row(const score_args& a) {
  row_run next = run_from(a.keys, 0);
  for (std::int64_t key = 0; key < a.keys.count; key += row_group) {
    const row_run run = next;
    if (key + row_group < a.keys.count) next = run_from(a.keys, key + row_group);  // early: what it looks up takes time
    vec8 acc[row_group] = {};
    if constexpr (InTurn) {
      GQA_UNROLL(8)
      for (int c = 0; c < row_group; ++c) {
        if (Fetch) prefetch_row<E, 1>(a.keys.ahead, run.ahead + c * a.keys.ahead.stride, a.dim);
        acc[c] = dot_whole_key<E>(a.q, run.row + c * a.keys.stride, a.dim);
      }
    } else {
      dot_piece_by_piece<E, Fetch>(a, run, acc);
    }
    const vec8 sums = lane_sums8(add_pairs8(acc[0], acc[1]), add_pairs8(acc[2], acc[3]), add_pairs8(acc[4], acc[5]),
                                 add_pairs8(acc[6], acc[7]));
    store8(a.s + key, scale8(sums, a.scale));
  }
}

/// Where nothing else is asked for, keys are left to the hardware's own prefetchers.
template <element E>
GQA_ENTRY void score_row(const score_args& a) noexcept {
  if (!reads_ahead(a.keys)) return a.in_turn ? dot_row<E, true, false>(a) : dot_row<E, false, false>(a);
  a.in_turn ? dot_row<E, true, true>(a) : dot_row<E, false, true>(a);
}
