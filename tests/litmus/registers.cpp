// GCC keeps an array of accumulators in memory at -O2 unless the loops over it carry #pragma GCC unroll. symbols.sh
// looks for stack accesses in the loop below: there must be none.
#include "region.hpp"

LITMUS_OPEN_AVX2
namespace isa_avx2 {
typedef float vec __attribute__((vector_size(32)));

template <int Rows, int Vectors>
LITMUS_ENTRY void register_tile(const float* a, const float* b, std::int64_t n, float* out) noexcept {
  vec sum[Rows][Vectors] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    vec column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) __builtin_memcpy(&column[v], b + (i * Vectors + v) * 8, sizeof(vec));
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const float x = a[i * Rows + r];
      const vec row = {x, x, x, x, x, x, x, x};
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = sum[r][v] + row * column[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) __builtin_memcpy(out + (r * Vectors + v) * 8, &sum[r][v], sizeof(vec));
}
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

int main() {
  float a[10 * 6], b[10 * 16], out[6 * 16];
  for (int i = 0; i < 60; ++i) a[i] = static_cast<float>(i % 7 - 3);
  for (int i = 0; i < 160; ++i) b[i] = static_cast<float>(i % 11 - 5);
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::printf("avx2 compiled, not run: this machine lacks it\n");
    return 0;
  }
  isa_avx2::register_tile<6, 2>(a, b, 10, out);
  for (int r = 0; r < 6; ++r)
    for (int c = 0; c < 16; ++c) {
      int sum = 0;
      for (int i = 0; i < 10; ++i) sum += ((i * 6 + r) % 7 - 3) * ((i * 16 + c) % 11 - 5);
      expect(out[r * 16 + c] == static_cast<float>(sum), "a tile of 6 rows and 2 vectors");
    }
  return failures;
}
