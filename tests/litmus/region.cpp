// Rules 1, 4, 5 and 7: text included once per region gives one namespace per target; its function templates, though
// instantiated after the region has closed, carry the target; a table of pointers is a constant; a vector wider than
// the target is a struct of native ones and warns nowhere; a target that the user's flags grant is not pushed.
// symbols.sh looks at the code: wide registers in these namespaces only. All widths give the same bits.
#include "region.hpp"

LITMUS_OPEN_BASELINE
namespace isa_portable {
#define LITMUS_WIDTH 4
#include "dot.inl.hpp"
#undef LITMUS_WIDTH
}  // namespace isa_portable
LITMUS_CLOSE_BASELINE

LITMUS_OPEN_AVX2
namespace isa_avx2 {
#define LITMUS_WIDTH 8
#include "dot.inl.hpp"
#undef LITMUS_WIDTH
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

LITMUS_OPEN_AVX512
namespace isa_avx512 {
#define LITMUS_WIDTH 16
#include "dot.inl.hpp"
#undef LITMUS_WIDTH
}  // namespace isa_avx512
LITMUS_CLOSE_AVX512

// The instantiations happen here, outside every region, and need no code to run before main.
template <int Unroll>
constinit const isa_portable::dot_function table[3] = {isa_portable::entry<Unroll>, isa_avx2::entry<Unroll>,
                                                       isa_avx512::entry<Unroll>};

int main() {
  float a[256], b[256], got[3] = {};
  for (int i = 0; i < 256; ++i) {
    a[i] = static_cast<float>(i * 37 % 101) / 7;
    b[i] = static_cast<float>(i * 53 % 97) / 11 - 4;
  }
  __builtin_cpu_init();
  const bool runs[3] = {true, __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0,
                        __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0};
  for (int target = 0; target < 3; ++target) {
    if (!runs[target]) {
      std::printf("target %d compiled, not run: this machine lacks it\n", target);
      continue;
    }
    table<4>[target](a, b, 256, &got[target]);
    expect(bits_of(got[target]) == bits_of(got[0]), "the same bits on every target");
    float once = 0;
    table<1>[target](a, b, 256, &once);
    expect(bits_of(once) == bits_of(got[0]), "the same bits however far the loop is unrolled");
  }
  return failures;
}
