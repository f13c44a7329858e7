// What -ffast-math and contraction would change, written as the kernels write it: vector operators, explicit fma.
typedef float vec __attribute__((vector_size(16)));
typedef std::int32_t ivec __attribute__((vector_size(16)));

LITMUS_ENTRY void add_then_subtract(const float* a, const float* b, float* out) noexcept {
  vec x, y;
  __builtin_memcpy(&x, a, sizeof x);
  __builtin_memcpy(&y, b, sizeof y);
  const vec z = (x + y) - x;  // y where reassociated
  __builtin_memcpy(out, &z, sizeof z);
}

/// The one product that may feed a sum: by a power of two it is exact, so that fusing it changes nothing. Clang fuses
/// under -ffast-math and -ffp-contract=fast whatever the pragmas say.
LITMUS_ENTRY void rescale_then_sum(const float* a, float power, const float* c, float* out) noexcept {
  vec x, z;
  __builtin_memcpy(&x, a, sizeof x);
  __builtin_memcpy(&z, c, sizeof z);
  const vec w = x * power + z;
  __builtin_memcpy(out, &w, sizeof w);
}

LITMUS_ENTRY void divide(const float* a, const float* b, float* out) noexcept {
  vec x, y;
  __builtin_memcpy(&x, a, sizeof x);
  __builtin_memcpy(&y, b, sizeof y);
  const vec z = x / y;  // a reciprocal times x, where allowed
  __builtin_memcpy(out, &z, sizeof z);
}

LITMUS_ENTRY void divide_by_one_number(const float* a, float b, float* out) noexcept {
  for (int i = 0; i < 4; ++i) out[i] = a[i] / b;
}

/// 1 where x is -inf, 2 where it is NaN, else 0: by bits, since -ffinite-math-only folds comparisons.
LITMUS_ENTRY void classify(const float* x, std::int32_t* out) noexcept {
  ivec bits;
  __builtin_memcpy(&bits, x, sizeof bits);
  const ivec hidden = bits == std::int32_t(0xff800000u);
  const ivec nan = (bits & 0x7fffffff) > 0x7f800000;
  const ivec code = (hidden & 1) | (nan & 2);
  __builtin_memcpy(out, &code, sizeof code);
}

/// Row sum in order: a chain that must stay one.
LITMUS_ENTRY float chain(const float* x, std::int64_t n) noexcept {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum = sum + x[i];
  return sum;
}
