// Text that is included once per region: no include, no std, no lambda. LITMUS_WIDTH lanes make 16 virtual ones.
typedef float vec __attribute__((vector_size(LITMUS_WIDTH * 4)));

struct lanes16 {  // wider than the target's registers: a struct of native vectors
  vec part[16 / LITMUS_WIDTH];
};

LITMUS_INLINE vec load(const float* p) {
  vec x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

template <int Unroll>
LITMUS_ENTRY void dot(const float* a, const float* b, std::int64_t n, float* out) noexcept {
  lanes16 sum = {};
  for (std::int64_t i = 0; i < n; i += 16 * Unroll) {
#pragma GCC unroll 4
    for (int u = 0; u < Unroll; ++u) {
#pragma GCC unroll 4
      for (int p = 0; p < 16 / LITMUS_WIDTH; ++p) {
        const std::int64_t at = i + u * 16 + p * LITMUS_WIDTH;
        sum.part[p] = sum.part[p] + load(a + at) * load(b + at);
      }
    }
  }
  float lane[16];
  __builtin_memcpy(lane, &sum, sizeof lane);
  for (int step = 8; step > 0; step /= 2)
    for (int l = 0; l < step; ++l) lane[l] += lane[l + step];
  *out = lane[0];
}

using dot_function = void (*)(const float*, const float*, std::int64_t, float*) noexcept;
template <int Unroll>
inline constexpr dot_function entry = &dot<Unroll>;
