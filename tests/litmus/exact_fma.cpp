// Without fma hardware: product and sum in double, the sum rounded to odd (its error from TwoSum), then one conversion.
// Compared with the instruction on random operands of wildly different exponents.
#include "region.hpp"

LITMUS_OPEN_BASELINE
namespace isa_portable {
LITMUS_ENTRY float emulated(float a, float b, float c) noexcept {
  const double product = (double)a * (double)b;  // exact
  const double addend = (double)c;
  double sum = product + addend;
  const double virtual_addend = sum - product;
  const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
  std::int64_t bits;
  __builtin_memcpy(&bits, &sum, sizeof bits);
  if (error != 0 && (bits & 1) == 0) {
    std::int64_t error_bits;
    __builtin_memcpy(&error_bits, &error, sizeof error_bits);
    bits += (bits ^ error_bits) < 0 ? -1 : 1;  // towards the exact sum, to the neighbour that is odd
    __builtin_memcpy(&sum, &bits, sizeof sum);
  }
  return (float)sum;
}
}  // namespace isa_portable
LITMUS_CLOSE_BASELINE

LITMUS_OPEN_AVX2
namespace isa_avx2 {
LITMUS_ENTRY float native(float a, float b, float c) noexcept {
  float out = a;
  __asm__("vfmadd213ss %2, %1, %0" : "+x"(out) : "x"(b), "x"(c));
  return out;
}
}  // namespace isa_avx2
LITMUS_CLOSE_AVX2

static std::uint64_t state = 42;
static float random_float(int exponents) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  const auto high = static_cast<std::uint32_t>(state >> 32);
  const std::uint32_t exponent = 127 + static_cast<std::uint32_t>(high >> 24) % (2 * exponents) - exponents;
  const std::uint32_t mantissa = high >> 3 & 0x7fffffu;
  const std::uint32_t word = (high & 1) << 31 | exponent << 23 | (high & 2 ? mantissa : mantissa & 0x7ff000u);
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

int main() {
  // By hand: a tie of the sum that the product's last bits decide.
  expect(bits_of(isa_portable::emulated(1 + 0x1p-23f, 1 + 0x1p-23f, 0)) == bits_of(1 + 0x1p-22f), "rounds once, down");
  expect(bits_of(isa_portable::emulated(0x1p-30f, 0x1p-30f, 1 + 0x1p-23f)) == bits_of(1 + 0x1p-23f),
         "keeps the addend");
  expect(bits_of(isa_portable::emulated(1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f)) == bits_of(0x1p-24f), "is fused");
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("fma")) {
    std::printf("not compared with the instruction: this machine lacks it\n");
    return failures;
  }
  for (int i = 0; i < 4000000; ++i) {
    const int exponents = i % 2 ? 60 : 8;
    const float a = random_float(exponents), b = random_float(exponents), c = random_float(exponents);
    if (bits_of(isa_portable::emulated(a, b, c)) == bits_of(isa_avx2::native(a, b, c))) continue;
    std::printf("fma(%a, %a, %a)\n", static_cast<double>(a), static_cast<double>(b), static_cast<double>(c));
    expect(false, "the emulation equals the instruction");
    if (failures > 5) break;
  }
  return failures;
}
