// Rule 3: a helper declared outside every region is plain inline (never always_inline) and may be called from one; one
// declared inside may be always_inline among its own. Holds at -O0 too, where nothing else is inlined.
#include "region.hpp"

/// bf16 to f32, as the portable code and a kernel's last elements need it.
constexpr std::uint32_t widen(std::uint16_t half) { return std::uint32_t{half} << 16; }

struct rows {  // a struct of pointers and numbers crosses the entry's boundary; vectors do not
  const std::uint16_t* data;
  std::int64_t count;
};

LITMUS_OPEN_AVX2
namespace isa_avx2 {
typedef float vec __attribute__((vector_size(32)));

LITMUS_INLINE vec load_wide(const std::uint16_t* p) {
  std::uint32_t wide[8];
  for (int i = 0; i < 8; ++i) wide[i] = widen(p[i]);
  vec x;
  __builtin_memcpy(&x, wide, sizeof x);
  return x;
}
LITMUS_INLINE vec add(vec a, vec b) { return a + b; }

LITMUS_ENTRY void sum_rows(const rows& r, float* out) noexcept {
  vec sum = {};
  for (std::int64_t i = 0; i < r.count; ++i) sum = add(sum, load_wide(r.data + i * 8));
  __builtin_memcpy(out, &sum, sizeof sum);
}
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

int main() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::printf("avx2 compiled, not run: this machine lacks it\n");
    return 0;
  }
  std::uint16_t data[24];
  for (std::uint16_t& x : data) x = 0x3f80;  // 1
  float out[8];
  isa_avx2::sum_rows({data, 3}, out);
  for (float x : out) expect(x == 3, "three rows of ones");
  return failures;
}
