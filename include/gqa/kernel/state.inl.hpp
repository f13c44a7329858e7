// The partial state (o, m, l) of a row: sums relative to 2^m. Its identity is m = -inf; its law is merge; finish turns
// it into the output.

/// Each row's 16 lanes summed up pairwise, four rows at a time.
GQA_ENTRY void fold_sums(const float* lanes, std::int64_t rows, float* l) noexcept {
  for (std::int64_t r = 0; r < rows; r += 4) {
    vec8 pairs[4];
    GQA_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      const float* x = lanes + (r + i < rows ? r + i : r) * sum_lanes;
      pairs[i] = add_pairs8(load8(x), load8(x + 8));
    }
    float halves[8];
    store8(halves, lane_sums8(pairs[0], pairs[1], pairs[2], pairs[3]));
    for (int i = 0; i < 4 && r + i < rows; ++i) l[r + i] = halves[2 * i] + halves[2 * i + 1];
  }
}

/// big + small * factor, over a row of o; both orders of the merge are the same fma.
GQA_INLINE void add_scaled(float* into, const float* big, const float* small, float factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += width) vstore(into + i, vfma(vload(small + i), vset(factor), vload(big + i)));
}

GQA_INLINE float fma_one(float a, float b, float c) { return vfma(vset(a), vset(b), vset(c))[0]; }

GQA_ENTRY void merge(const state_rows& into, const state_rows& from, std::int64_t rows, std::int64_t dim) noexcept {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* a = into.o + r * into.o_stride;
    const float* b = from.o + r * from.o_stride;
    if (is_minus_inf(from.m[r])) continue;
    if (is_minus_inf(into.m[r])) {
      __builtin_memcpy(a, b, (std::size_t)dim * sizeof(float));
      into.m[r] = from.m[r];
      into.l[r] = from.l[r];
    } else if (into.m[r] >= from.m[r]) {
      const float factor = power_of_two(from.m[r] - into.m[r]);
      add_scaled(a, a, b, factor, dim);
      into.l[r] = fma_one(from.l[r], factor, into.l[r]);
    } else {
      const float factor = power_of_two(into.m[r] - from.m[r]);
      add_scaled(a, b, a, factor, dim);
      into.l[r] = fma_one(into.l[r], factor, from.l[r]);
      into.m[r] = from.m[r];
    }
  }
}

template <element Out>
GQA_INLINE void store_output(const float* o, float l, std::int64_t dim, void* out) {
  for (std::int64_t d = 0; d < dim; d += width) {
    const vec x = vload(o + d) / vset(l) + vset(0.0f);  // -0 becomes +0
    if (Out == element::f32 && dim - d >= width) {
      vstore((float*)out + d, x);
      continue;
    }
    float quotient[width];
    vstore(quotient, x);
    const std::int64_t n = dim - d < width ? dim - d : width;
    if constexpr (Out == element::f32) {
      __builtin_memcpy((float*)out + d, quotient, (std::size_t)n * sizeof(float));
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        std::uint32_t bits;
        __builtin_memcpy(&bits, quotient + i, 4);
        std::uint16_t half = Out == element::f16 ? f16_bits_from_f32(bits) : bf16_bits_from_f32(bits);
        if (half == 0x8000) half = 0;
        __builtin_memcpy((char*)out + 2 * (d + i), &half, 2);
      }
    }
  }
}

/// Writes one row: o / l and, where asked for, lse. `o` has room for whole vectors and may be changed.
template <element Out>
GQA_ENTRY void finish(float* o, float m, float l, const float* sink, std::int64_t dim, void* out, float* lse) noexcept {
  const bool sees_keys = !is_minus_inf(m);
  if (!sees_keys) {
    __builtin_memset(out, 0, (std::size_t)dim * (Out == element::f32 ? 4 : 2));
    if (lse) *lse = sink ? *sink : minus_inf();
    return;
  }
  if (sink && !is_minus_inf(*sink)) {
    const exponent e = split_exponent(vset(*sink));
    const float n = e.n[0], p = scale_down(twice_exp2(e.f), vzero())[0];
    if (m >= n) {
      l = fma_one(p, power_of_two(n - m), l);
    } else {
      const float factor = power_of_two(m - n);
      l = fma_one(l, factor, p);
      for (std::int64_t d = 0; d < dim; d += width) vstore(o + d, vload(o + d) * vset(factor));
      m = n;
    }
  }
  store_output<Out>(o, l, dim, out);
  if (lse) *lse = (float)(rounded((double)m * 0x1.62e42fefa39efp-1) + ln_of(l));
}
