// Rule 9: OpenMP stays outside regions; its loops call an entry through a pointer.
#include "region.hpp"

LITMUS_OPEN_AVX2
namespace isa_avx2 {
#define LITMUS_WIDTH 8
#include "dot.inl.hpp"
#undef LITMUS_WIDTH
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

int main() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::printf("avx2 compiled, not run: this machine lacks it\n");
    return 0;
  }
  float a[64], out[40];
  for (float& x : a) x = 0.5f;
  isa_avx2::dot_function volatile chosen = isa_avx2::entry<2>;
  const isa_avx2::dot_function dot = chosen;
#pragma omp parallel for schedule(static, 1)
  for (int i = 0; i < 40; ++i) dot(a, a, 64, &out[i]);
  for (float x : out) expect(x == 16, "0.25 * 64");
  return failures;
}
