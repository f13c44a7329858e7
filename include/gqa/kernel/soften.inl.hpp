// From scores to weights: the integer row maximum, p = 2^(n - m) * poly(f) in place of the scores, the row sum in 16
// virtual lanes, and the power of two by which what was summed before must shrink. A hidden key's weight is -0: it adds
// nothing, and tells the key from one whose weight is too small for a number. Also the score modifiers.

GQA_INLINE bool is_minus_inf(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits == 0xff800000u;
}
GQA_INLINE float minus_inf() {
  const std::uint32_t bits = 0xff800000u;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

GQA_INLINE void scale_row(float* x, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; i += width) vstore(x + i, vload(x + i) * vset(factor));
}

/// The row's maximum over this block and before, and what was summed before brought down to it.
template <bool Hidden>
GQA_INLINE void raise_maximum(const soften_args& a, const float* s, float& m, float* l, float* o) {
  vec high = vload(s + a.begin);
  for (std::int64_t i = a.begin + width; i < a.end; i += width) high = vmax(high, vload(s + i));
  const float top = highest_lane(high);
  if (Hidden && is_minus_inf(top)) return;  // sees nothing here
  const float n = split_exponent(vset(top)).n[0];
  if (is_minus_inf(m)) {
    m = n;
  } else if (n > m) {
    const float shrink = power_of_two(m - n);
    scale_row(l, sum_lanes, shrink);
    scale_row(o, a.o_stride, shrink);
    m = n;
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
      if (Hidden) {
        const ivec unseen = (ivec)(vbits(x) == viset((std::int32_t)0xff800000));
        p = vfloat((vbits(p) & ~unseen) | (viset(INT32_MIN) & unseen));
      }
      vstore(s + i + j * width, p);
      sum[j] = sum[j] + p;
    }
  }
  GQA_UNROLL(4)
  for (int j = 0; j < sums; ++j) vstore(l + j * width, sum[j]);
}

/// The maxima of several rows first: they branch, and a wrong guess would throw away the exponentials under way.
template <bool Hidden>
GQA_INLINE void soften_rows(const soften_args& a) {
  constexpr std::int64_t together = 16;  // whose scores stay in the first level of cache
  for (std::int64_t first = 0; first < a.rows; first += together) {
    const std::int64_t last = first + together < a.rows ? first + together : a.rows;
    for (std::int64_t r = first; r < last; ++r)
      raise_maximum<Hidden>(a, a.s + r * block_keys, a.m[r], a.l + r * sum_lanes, a.o + r * a.o_stride);
    for (std::int64_t r = first; r < last; ++r)
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
