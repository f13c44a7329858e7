// From scores to weights: the integer row maximum, p = 2^(n - m) * poly(f) in place of the scores, the row sum in 16
// virtual lanes, and the power of two by which what was summed before must shrink. A hidden key's weight is -0: it adds
// nothing, and tells the key from one whose weight is too small for a number. Also the score modifiers.

GQA_INLINE bool is_minus_inf(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits == 0xff800000u;
}
GQA_INLINE ivec minus_inf_lanes(vec x) { return (ivec)(vbits(x) == viset((std::int32_t)0xff800000)); }
GQA_INLINE float minus_inf() {
  const std::uint32_t bits = 0xff800000u;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

GQA_INLINE void scale_row(float* x, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; i += width) vstore(x + i, vload(x + i) * vset(factor));
}

/// Lane r: the highest score of row r of n, up to `width`; 0 of rows that are not there.
GQA_INLINE vec highest_of_rows(const soften_args& a, const float* s, std::int64_t n) {
  float of_row[width][width];
  for (std::int64_t r = 0; r < n; ++r, s += block_keys) {
    vec high = vload(s + a.begin);
    for (std::int64_t i = a.begin + width; i < a.end; i += width) high = vmax(high, vload(s + i));
    vstore(of_row[r], high);
  }
  for (std::int64_t r = n; r < width; ++r) vstore(of_row[r], vzero());
  vec x[width];
  GQA_UNROLL(16)
  for (int r = 0; r < width; ++r) x[r] = vload(of_row[r]);
  GQA_UNROLL(4)
  for (int rows = width / 2; rows > 0; rows /= 2) {
    GQA_UNROLL(8)
    for (int r = 0; r < rows; ++r) x[r] = vmax(evens(x[2 * r], x[2 * r + 1]), odds(x[2 * r], x[2 * r + 1]));
  }
  return x[0];
}

/// The maxima of n rows, up to `width`, over this block and before, and what was summed before brought down to them.
template <bool Hidden>
GQA_INLINE void raise_maxima(const soften_args& a, std::int64_t first, std::int64_t n) {
  float m[width] = {};
  for (std::int64_t r = 0; r < n; ++r) m[r] = a.m[first + r];
  const vec top = highest_of_rows(a, a.s + first * block_keys, n), before = vload(m);
  const vec here = split_exponent(top).n;
  const ivec fresh = minus_inf_lanes(before);
  vec after = vselect(fresh, here, vmax(here, before));
  if (Hidden) after = vselect(minus_inf_lanes(top), before, after);  // a row that sees nothing here
  vstore(m, after);
  for (std::int64_t r = 0; r < n; ++r) a.m[first + r] = m[r];

  // The rows that rise are listed first: a branch for each would often be guessed wrong.
  float shrink[width], rises[width];
  vstore(shrink, scale_down(vset(2.0f), before - after));
  vstore(rises, vand(vset(1.0f), (ivec)(after > before) & ~fresh));
  std::int64_t rows[width], rising = 0;
  for (std::int64_t r = 0; r < n; ++r) {
    rows[rising] = r;
    rising += (std::int64_t)rises[r];
  }
  for (std::int64_t i = 0; i < rising; ++i) {
    scale_row(a.l + (first + rows[i]) * sum_lanes, sum_lanes, shrink[rows[i]]);
    scale_row(a.o + (first + rows[i]) * a.o_stride, a.o_stride, shrink[rows[i]]);
  }
}

template <bool Hidden>
GQA_INLINE void weights_of_row(const soften_args& a, float* s, float m, float* l) {
  const vec base = vset(m);
  constexpr int sums = sum_lanes / width;
  vec sum[sums];
  GQA_UNROLL(4)
  for (int j = 0; j < sums; ++j) sum[j] = vload(l + j * width);
  for (std::int64_t i = a.begin; i < a.end; i += sum_lanes) {
    GQA_UNROLL(4)
    for (int j = 0; j < sums; ++j) {
      const vec x = vload(s + i + j * width);
      const exponent e = split_exponent(x);
      vec p = scale_down(twice_exp2(e.f), e.n - base);
      if (Hidden) p = vselect(minus_inf_lanes(x), vfloat(viset(INT32_MIN)), p);
      vstore(s + i + j * width, p);
      sum[j] = sum[j] + p;
    }
  }
  GQA_UNROLL(4)
  for (int j = 0; j < sums; ++j) vstore(l + j * width, sum[j]);
}

/// The maxima of several rows first, whose scores stay in the first level of cache.
template <bool Hidden>
GQA_INLINE void soften_rows(const soften_args& a) {
  for (std::int64_t first = 0; first < a.rows; first += width) {
    const std::int64_t n = first + width < a.rows ? width : a.rows - first;
    raise_maxima<Hidden>(a, first, n);
    for (std::int64_t r = first; r < first + n; ++r)
      weights_of_row<Hidden>(a, a.s + r * block_keys, a.m[r], a.l + r * sum_lanes);
  }
}

GQA_ENTRY void soften(const soften_args& a) noexcept {
  if (a.hidden) soften_rows<true>(a);
  else soften_rows<false>(a);
}

// The modifiers work on whole vectors: a row of S has room for them, and columns past n hold no score yet or a hidden
// one.

GQA_ENTRY void softcap(float* s, std::int64_t n, float cap, float inverse_cap) noexcept {
  for (std::int64_t i = 0; i < n; i += width) vstore(s + i, vset(cap) * tanh_of(vload(s + i) * vset(inverse_cap)));
}

GQA_ENTRY void alibi(float* s, std::int64_t n, float slope, std::int64_t first_distance) noexcept {
  for (std::int64_t i = 0; i < n; i += width) {
    float distance[width];
    for (int j = 0; j < width; ++j) distance[j] = (float)(first_distance + i + j);
    vstore(s + i, vfma(vset(slope), vload(distance), vload(s + i)));
  }
}

GQA_ENTRY void add_bias(float* s, std::int64_t n, const float* bias, std::int64_t stride) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const float b = bias[i * stride];
    s[i] = is_minus_inf(b) ? minus_inf() : s[i] + b;  // by selection: the key's own score may be NaN or infinite
  }
}
