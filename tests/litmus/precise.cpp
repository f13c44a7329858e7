// The user's flags: compiled with -ffast-math, -ffp-contract=fast and others, arithmetic inside a region keeps its
// order and its roundings. Also under targets that have fma, where contraction would pay.
#include <immintrin.h>

#include "region.hpp"

LITMUS_OPEN_BASELINE
namespace isa_portable {
#include "precise.inl.hpp"
}  // namespace isa_portable
LITMUS_CLOSE_BASELINE

LITMUS_OPEN_AVX2
namespace isa_avx2 {
#include "precise.inl.hpp"

LITMUS_ENTRY void fused(const float* a, const float* c, float* out) noexcept {
  const __m128 x = _mm_loadu_ps(a), y = _mm_loadu_ps(c);
  _mm_storeu_ps(out, _mm_fmadd_ps(x, x, y));
}
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

template <class AddThenSubtract, class RescaleThenSum, class Divide, class DivideByOne, class Classify, class Chain>
void check(AddThenSubtract add_then_subtract, RescaleThenSum rescale_then_sum, Divide divide, DivideByOne divide_by_one,
           Classify classify, Chain chain) {
  const float big[4] = {1e8f, -1e8f, 3e7f, 16777216.0f}, small[4] = {1, 3, 0.7f, 1};
  float out[4];
  add_then_subtract(big, small, out);
  for (float x : out) expect(bits_of(x) == 0, "(x + y) - x rounds twice");

  // (2^24 - 1) / 4 + 0.25 is 2^22 exactly; 3 / 4 + 2^24 is a rounding decided by the exact sum.
  const float a[4] = {16777215, 3, 1, 5}, c[4] = {0.25f, 16777216, 8388608, 4194304};
  const float rescaled[4] = {4194304, 16777216, 8388608, 4194305};
  rescale_then_sum(a, opaque(0.25f), c, out);
  for (int i = 0; i < 4; ++i) expect(bits_of(out[i]) == bits_of(rescaled[i]), "a rescaled state is added exactly");

  // Quotients where x * (1 / y) is off by one unit in the last place, worked out in exact arithmetic.
  const float x[4] = {5, 7, 9, 9}, y[4] = {3, 3, 7, 11};
  const std::uint32_t quotients[4] = {0x3fd55555, 0x40155555, 0x3fa49249, 0x3f51745d};
  divide(x, y, out);
  for (int i = 0; i < 4; ++i) expect(bits_of(out[i]) == quotients[i], "division is the IEEE one");
  // n / 49 for n = 0 ... 4095 against the exact quotient: r = fl(n / 49) is nearest, so |n - 49 r| <= 49 ulp / 2.
  for (int n = 0; n < 4096; n += 4) {
    const float row[4] = {static_cast<float>(n), static_cast<float>(n + 1), static_cast<float>(n + 2),
                          static_cast<float>(n + 3)};
    divide_by_one(row, opaque(49.0f), out);
    for (int i = 0; i < 4; ++i) {
      const double distance = std::abs(49.0 * static_cast<double>(out[i]) - (n + i));
      std::uint32_t next_bits = bits_of(out[i]) + 1;
      float next;
      std::memcpy(&next, &next_bits, sizeof next);
      expect(distance <= 49.0 * (static_cast<double>(next) - static_cast<double>(out[i])) / 2, "no reciprocal of 49");
    }
  }

  const std::uint32_t words[4] = {0xff800000, 0x7fc00001, 0x3f800000, 0x7f800000};
  float special[4];
  std::memcpy(special, words, sizeof special);
  std::int32_t codes[4];
  classify(special, codes);
  expect(codes[0] == 1 && codes[1] == 2 && codes[2] == 0 && codes[3] == 0, "-inf and NaN are told apart by bits");

  float terms[64];
  for (int i = 0; i < 64; ++i) terms[i] = i == 0 ? 16777216.0f : 1.0f;
  expect(bits_of(chain(terms, 64)) == bits_of(16777216.0f), "a chain of sums keeps its order");
}

int main() {
  check(isa_portable::add_then_subtract, isa_portable::rescale_then_sum, isa_portable::divide,
        isa_portable::divide_by_one_number, isa_portable::classify, isa_portable::chain);
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    // (1 + 2^-12)^2 - 1 - 2^-11 is 2^-24 exactly, and 0 where the product is rounded to f32 first.
    const float a[4] = {1 + 0x1p-12f, 1 + 0x1p-12f, 1 + 0x1p-12f, 1 + 0x1p-12f};
    const float c[4] = {-1 - 0x1p-11f, -1 - 0x1p-11f, -1 - 0x1p-11f, -1 - 0x1p-11f};
    float out[4];
    isa_avx2::fused(a, c, out);
    for (float x : out) expect(bits_of(x) == bits_of(0x1p-24f), "an explicit fma rounds once");
    check(isa_avx2::add_then_subtract, isa_avx2::rescale_then_sum, isa_avx2::divide, isa_avx2::divide_by_one_number,
          isa_avx2::classify, isa_avx2::chain);
  } else {
    std::printf("avx2 compiled, not run: this machine lacks it\n");
  }
  return failures;
}
