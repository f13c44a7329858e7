// The bit conversions against an independent formulation in double: decode a format by its definition, and round by
// searching the neighbours of a value among all representable ones.
#include <gqa/base/convert.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

namespace {

struct format {
  int exponent_bits, mantissa_bits;
  [[nodiscard]] int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  [[nodiscard]] std::uint32_t inf() const { return ((1u << exponent_bits) - 1u) << mantissa_bits; }
  [[nodiscard]] std::uint32_t sign() const { return 1u << (exponent_bits + mantissa_bits); }
};

constexpr format f32_format{8, 23}, f16_format{5, 10}, bf16_format{8, 7};

// (-1)^s * 2^(e - bias) * (1 + m / 2^M), or 2^(1 - bias) * m / 2^M where e == 0; finite bits only.
double decode(format f, std::uint32_t bits) {
  const std::uint32_t magnitude = bits & (f.sign() - 1);
  const int e = static_cast<int>(magnitude >> f.mantissa_bits);
  const double m = static_cast<double>(magnitude & ((1u << f.mantissa_bits) - 1)) / std::exp2(f.mantissa_bits);
  const double value = e == 0 ? std::exp2(1 - f.bias()) * m : std::exp2(e - f.bias()) * (1 + m);
  return bits & f.sign() ? -value : value;
}

bool is_nan(format f, std::uint32_t bits) { return (bits & (f.sign() - 1)) > f.inf(); }

// All non-negative values of a 16-bit format in order of their bits; inf stands as the next power of two, which is how
// IEEE 754 decides overflow.
std::vector<double> ladder(format f) {
  std::vector<double> values;
  for (std::uint32_t bits = 0; bits < f.inf(); ++bits) values.push_back(decode(f, bits));
  values.push_back(std::exp2(1 << (f.exponent_bits - 1)));
  return values;
}

// The nearest rung to `value` >= 0, ties to the even one; `near` is a rung close to it where the search begins.
std::uint32_t nearest(const std::vector<double>& rungs, double value, std::size_t near) {
  std::size_t low = std::min(near, rungs.size() - 1);
  while (low > 0 && rungs[low] > value) --low;
  while (low + 1 < rungs.size() && rungs[low + 1] <= value) ++low;
  if (low + 1 == rungs.size()) return static_cast<std::uint32_t>(low);
  const double below = value - rungs[low], above = rungs[low + 1] - value;  // exact: both are short multiples of an ulp
  if (below != above) return static_cast<std::uint32_t>(below < above ? low : low + 1);
  return static_cast<std::uint32_t>(low % 2 == 0 ? low : low + 1);
}

using narrow_function = std::uint16_t (*)(std::uint32_t);

// Checks f32 bits first, first + step, ...; returns the number of mismatches, the first of them in `example`.
std::int64_t narrow_mismatches(format f, narrow_function narrow, std::uint64_t step, std::uint32_t& example) {
  const std::vector<double> rungs = ladder(f);
  std::int64_t bad = 0;
  std::size_t near = 0;
  for (std::uint64_t x = 0; x < (std::uint64_t{1} << 31); x += step) {
    const auto bits = static_cast<std::uint32_t>(x);
    std::uint32_t want = 0;
    if (is_nan(f32_format, bits)) {
      const int dropped = 23 - f.mantissa_bits;
      want = f.inf() | (1u << (f.mantissa_bits - 1)) | ((bits & 0x7fffffu) >> dropped);
    } else if (bits == f32_format.inf()) {
      want = f.inf();
    } else {
      near = want = nearest(rungs, decode(f32_format, bits), near);
    }
    for (const std::uint32_t negative : {0u, 1u}) {
      const std::uint32_t got = narrow(bits | negative << 31);
      if (got != (want | (negative ? f.sign() : 0u)) && bad++ == 0) example = bits | negative << 31;
    }
  }
  return bad;
}

// A prime stride visits every residue of the dropped bits; GQA_TEST_EVERY_FLOAT=1 visits every float.
std::uint64_t f32_step() {
  const char* every = std::getenv("GQA_TEST_EVERY_FLOAT");
  return every && *every == '1' ? 1 : 241;
}

template <gqa::storage T>
void expect_widening_exact(format f, std::uint32_t (*widen)(std::uint16_t)) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const std::uint32_t wide = widen(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(wide >> 31, bits >> 15) << bits;
    const std::uint32_t magnitude = bits & 0x7fffu;
    if (magnitude > f.inf()) {
      ASSERT_TRUE(is_nan(f32_format, wide)) << bits;
      ASSERT_NE(wide & 0x400000u, 0u) << "not quiet: " << bits;
      const std::uint32_t mantissa_mask = (1u << f.mantissa_bits) - 1u, quiet = 1u << (f.mantissa_bits - 1);
      ASSERT_EQ((wide & 0x7fffffu) >> (23 - f.mantissa_bits), (bits & mantissa_mask) | quiet) << bits;
    } else if (magnitude == f.inf()) {
      ASSERT_EQ(wide & 0x7fffffffu, f32_format.inf());
    } else {
      ASSERT_EQ(decode(f32_format, wide), decode(f, bits)) << bits;
    }
    ASSERT_EQ(gqa::widen_bits<T>(static_cast<std::uint16_t>(bits)), wide);
    if (magnitude <= f.inf()) {  // narrowing what was widened is the identity
      ASSERT_EQ(gqa::narrow_bits<T>(wide), bits);
    }
  }
}

TEST(Convert, EveryF16WidensExactly) { expect_widening_exact<gqa::f16>(f16_format, gqa::f32_bits_from_f16); }

TEST(Convert, EveryBf16WidensExactly) { expect_widening_exact<gqa::bf16>(bf16_format, gqa::f32_bits_from_bf16); }

TEST(Convert, F32ToF16RoundsToNearestEven) {
  std::uint32_t example = 0;
  EXPECT_EQ(narrow_mismatches(f16_format, gqa::f16_bits_from_f32, f32_step(), example), 0) << std::hex << example;
}

TEST(Convert, F32ToBf16RoundsToNearestEven) {
  std::uint32_t example = 0;
  EXPECT_EQ(narrow_mismatches(bf16_format, gqa::bf16_bits_from_f32, f32_step(), example), 0) << std::hex << example;
}

// Around every representable value and every midpoint between two: where rounding can go wrong.
void expect_neighbours_right(format f, narrow_function narrow) {
  const std::vector<double> rungs = ladder(f);
  for (std::size_t i = 0; i + 1 < rungs.size(); ++i) {
    for (const double centre : {rungs[i], (rungs[i] + rungs[i + 1]) / 2}) {
      const auto c = std::bit_cast<std::uint32_t>(static_cast<float>(centre));
      for (const std::uint32_t x : {c > 0 ? c - 1 : c, c, c + 1}) {
        if (x >= f32_format.inf()) continue;
        ASSERT_EQ(narrow(x), nearest(rungs, decode(f32_format, x), i)) << std::hex << x;
      }
    }
  }
}

TEST(Convert, F16MidpointsAndTheirNeighbours) { expect_neighbours_right(f16_format, gqa::f16_bits_from_f32); }

TEST(Convert, Bf16MidpointsAndTheirNeighbours) { expect_neighbours_right(bf16_format, gqa::bf16_bits_from_f32); }

TEST(Convert, Landmarks) {
  EXPECT_EQ(gqa::f16_bits_from_f32(0x477fefffu), 0x7bffu);  // just below 65520
  EXPECT_EQ(gqa::f16_bits_from_f32(0x477ff000u), 0x7c00u);  // 65520 ties to inf
  EXPECT_EQ(gqa::f16_bits_from_f32(0x33000000u), 0x0000u);  // 2^-25 ties to 0
  EXPECT_EQ(gqa::f16_bits_from_f32(0x33000001u), 0x0001u);
  EXPECT_EQ(gqa::f16_bits_from_f32(0xb3000001u), 0x8001u);
  EXPECT_EQ(gqa::f16_bits_from_f32(0x80000000u), 0x8000u);
  EXPECT_EQ(gqa::f16_bits_from_f32(0x7f800001u), 0x7e00u);   // signalling NaN whose payload would be cut off
  EXPECT_EQ(gqa::bf16_bits_from_f32(0x7f7fffffu), 0x7f80u);  // the largest float is nearer to 2^128
  EXPECT_EQ(gqa::bf16_bits_from_f32(0x7f7f7fffu), 0x7f7fu);
  EXPECT_EQ(gqa::bf16_bits_from_f32(0x7f800001u), 0x7fc0u);
  EXPECT_EQ(gqa::bf16_bits_from_f32(0x00008000u), 0x0000u);  // subnormal tie
  EXPECT_EQ(gqa::bf16_bits_from_f32(0x00008001u), 0x0001u);
  EXPECT_EQ(gqa::f32_bits_from_f16(0x0001u), 0x33800000u);
  EXPECT_EQ(gqa::f32_bits_from_f16(0x03ffu), 0x387fc000u);
}

TEST(Convert, ScalarsAreConstexpr) {
  static_assert(gqa::to_float(gqa::from_float<gqa::f16>(1.5f)) == 1.5f);
  static_assert(gqa::to_float(gqa::from_float<gqa::bf16>(-0.375f)) == -0.375f);
  static_assert(gqa::to_float(gqa::from_float<float>(0.1f)) == 0.1f);
  static_assert(gqa::narrow_bits<gqa::f16>(0x3f801000u) == 0x3c00u);  // tie to even
  EXPECT_EQ(gqa::to_float(gqa::from_float<gqa::f16>(0.1f)), 0.0999755859375f);
}

template <class D, class S>
void expect_row_converts() {
  std::vector<S> src;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint32_t bits = i * 4294967u + 12345u;  // all exponents, NaN and inf among them
    src.push_back(std::bit_cast<S>(gqa::narrow_bits<S>(bits)));
  }
  for (const std::int64_t n : {0, 1, 7, 16, 1000}) {
    const gqa::bits_t<D> guard = 0x5a5a;
    std::vector<D> dense(1001, std::bit_cast<D>(guard)), strided(16001, std::bit_cast<D>(guard));
    gqa::convert_row(dense.data(), src.data(), n);
    gqa::convert_row(strided.data(), src.data(), n, 16);
    for (std::int64_t i = 0; i < 1001; ++i) {
      auto want = guard;
      if (i < n) {
        const auto in = std::bit_cast<gqa::bits_t<S>>(src[i]);
        if constexpr (std::same_as<D, S>) want = in;
        else want = gqa::narrow_bits<D>(gqa::widen_bits<S>(in));
      }
      ASSERT_EQ(std::bit_cast<gqa::bits_t<D>>(dense[i]), want) << i << " of " << n;
    }
    for (std::int64_t i = 0; i < 16001; ++i) {
      const auto want = i % 16 == 0 && i / 16 < n ? std::bit_cast<gqa::bits_t<D>>(dense[i / 16]) : guard;
      ASSERT_EQ(std::bit_cast<gqa::bits_t<D>>(strided[i]), want) << i << " of " << n;
    }
  }
}

TEST(Convert, Rows) {
  expect_row_converts<float, float>();
  expect_row_converts<float, gqa::f16>();
  expect_row_converts<float, gqa::bf16>();
  expect_row_converts<gqa::f16, float>();
  expect_row_converts<gqa::f16, gqa::f16>();
  expect_row_converts<gqa::f16, gqa::bf16>();
  expect_row_converts<gqa::bf16, float>();
  expect_row_converts<gqa::bf16, gqa::f16>();
  expect_row_converts<gqa::bf16, gqa::bf16>();
}

TEST(Convert, CopiesOfEqualTypesKeepSignallingNaN) {
  const auto src = std::bit_cast<gqa::f16>(std::uint16_t{0x7c01});
  gqa::f16 dst{};
  gqa::convert_row(&dst, &src, 1);
  EXPECT_EQ(std::bit_cast<std::uint16_t>(dst), 0x7c01u);
}

}  // namespace
