// The kernels' own functions, target against target bit for bit, and against double precision: exp2, tanh, ln, the
// fused multiply-add (emulated where the baseline has none), conversions, both forms of the scores, both forms of P .
// V. GQA_TEST_EVERY_FLOAT=1 in the environment tests every float instead of every 1009th.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gqa/gqa.hpp>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using gqa::block_keys;
using gqa::element;
using gqa::isa;
using gqa::kernel_table;
using gqa::sum_lanes;

/// Of every target at hand, the kernels for keys and values of type E.
template <element E = element::f32>
std::vector<const kernel_table*> tables() {
  std::vector<const kernel_table*> found;
  for (isa target : gqa::all_isas)
    if (gqa::is_supported(target)) found.push_back(gqa::kernels_for<element::f32, E, E, element::f32>(target));
  return found;
}

std::uint32_t stride() { return std::getenv("GQA_TEST_EVERY_FLOAT") ? 1 : 1009; }

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

constexpr double u = 0x1p-24;

/// Calls check(x, results of `compute` on each target) for the floats whose bits lie in [first, last), 16 at a time.
template <class Compute, class Check>
void over_floats(std::uint32_t first, std::uint32_t last, const Compute& compute, const Check& check) {
  const auto all = tables();
  for (std::uint64_t bits = first; bits < last;) {
    float x[16];
    for (float& e : x) {
      e = from_bits(static_cast<std::uint32_t>(std::min<std::uint64_t>(bits, last - 1)));
      bits += stride();
    }
    float reference[16];
    for (std::size_t t = 0; t < all.size(); ++t) {
      float y[16];
      std::memcpy(y, x, sizeof y);
      compute(*all[t], y);
      if (t == 0) std::memcpy(reference, y, sizeof y);
      ASSERT_EQ(std::memcmp(reference, y, sizeof y), 0) << gqa::name(all[t]->target) << " near " << x[0];
    }
    for (int i = 0; i < 16; ++i) check(x[i], reference[i]);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Kernel, WeightsAreExpOfTheScoreAndEqualOnEveryTarget) {
  // Column 0 holds the maximum, a score of 0; the others any score below. p = exp(s), 0 from 2^-126 down.
  const auto weights = [](const kernel_table& k, float(&s)[16]) {
    float row[block_keys] = {}, m = -INFINITY, l[sum_lanes] = {}, o[16] = {};
    std::memcpy(row + 16, s, sizeof s);
    std::fill_n(row + 1, 15, -INFINITY);
    k.soften({row, 1, 0, 32, &m, l, o, 16, true});
    ASSERT_EQ(row[0], 1.0f);
    ASSERT_EQ(m, 0.0f);
    for (int i = 1; i < 16; ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(row[i]), 0x80000000u) << "a hidden key weighs nothing";
    std::memcpy(s, row + 16, sizeof s);
  };
  over_floats(0x80000000u, 0xff800000u, weights, [](float s, float p) {
    const double exact = std::exp(static_cast<double>(s));
    // s * log2(e): the constant and the product round once each; the polynomial and the last product add 2 u.
    const double bound = exact * (2.0 * u * std::fabs(static_cast<double>(s)) + 2.2 * u);
    if (p == 0.0f) ASSERT_LT(exact, 0x1p-125) << s;
    else ASSERT_LE(std::fabs(p - exact), bound) << s << " gives " << p;
  });
}

TEST(Kernel, SoftcapIsTanhOnEveryTarget) {
  const auto tanh16 = [](const kernel_table& k, float(&s)[16]) { k.softcap(s, 16, 1.0f, 1.0f); };
  const auto check = [](float x, float y) {
    const double exact = std::tanh(static_cast<double>(x));
    ASSERT_LE(std::fabs(y - exact), 4.0 * u * std::fabs(exact) + 0x1p-149) << x << " gives " << y;
    ASSERT_EQ(std::signbit(x), std::signbit(y)) << x;
    ASSERT_LE(std::fabs(y), 1.0f) << x;
  };
  over_floats(0x00000000u, 0x7f800001u, tanh16, check);
  over_floats(0x80000000u, 0xff800001u, tanh16, check);
}

TEST(Kernel, NanStaysNan) {
  for (const kernel_table* k : tables())
    for (std::uint32_t bits : {0x7fc00000u, 0xffc00000u, 0x7fc12345u}) {
      float s[16];
      std::fill_n(s, 16, from_bits(bits));
      k->softcap(s, 16, 1.0f, 1.0f);
      for (float x : s) EXPECT_TRUE(std::isnan(x));
      float row[block_keys] = {}, m = -INFINITY, l[sum_lanes] = {}, o[16] = {};
      row[5] = from_bits(bits);
      k->soften({row, 1, 0, 16, &m, l, o, 16, false});
      EXPECT_TRUE(std::isnan(row[5])) << gqa::name(k->target);
      EXPECT_TRUE(std::isnan(l[5]));
    }
}

/// Rows whose maximum rises, by little or beyond a float's exponents, stays or is new, that see nothing, or that meet
/// NaN: as each alone, on every target.
TEST(Kernel, RowsSoftenTogetherAsEachAlone) {
  constexpr std::int64_t most = 37, o_stride = 48, begin = 16;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> s(most * block_keys), l(most * sum_lanes), o(most * o_stride), m(most), n(most);
  for (auto* x : {&s, &l, &o})
    for (float& y : *x) y = normal(random);
  enum { blind, some_nan, all_nan, plain } kinds[most];
  for (std::int64_t r = 0; r < most; ++r) {
    float* const row = s.data() + r * block_keys;
    kinds[r] = r % 7 == 2 ? blind : r % 11 == 3 ? some_nan : r % 13 == 4 ? all_nan : plain;
    if (kinds[r] == blind) std::fill_n(row, block_keys, -INFINITY);
    if (kinds[r] == some_nan) row[begin + 4] = from_bits(0x7fc00000u);
    if (kinds[r] == all_nan) std::fill_n(row, block_keys, from_bits(0x7fc00000u));
    n[r] = std::rint(*std::max_element(row + begin, row + block_keys) * 0x1.715476p+0f);
    const float before[] = {-INFINITY, n[r] - 3, n[r], n[r] + 9, -200, 4};
    m[r] = kinds[r] == plain ? before[r % 6] : before[r % 2 * 5];
  }
  std::vector<float> first;
  for (const kernel_table* k : tables())
    for (const std::int64_t rows : {1, 3, 4, 5, 8, 13, 16, 17, 32, 37}) {
      auto s1 = s, l1 = l, o1 = o, m1 = m, s2 = s, l2 = l, o2 = o, m2 = m;
      k->soften({s1.data(), rows, begin, block_keys, m1.data(), l1.data(), o1.data(), o_stride, true});
      for (std::int64_t r = 0; r < rows; ++r)
        k->soften(
            {&s2[r * block_keys], 1, begin, block_keys, &m2[r], &l2[r * sum_lanes], &o2[r * o_stride], o_stride, true});
      for (const auto& [x, y] : {std::pair(&s1, &s2), {&l1, &l2}, {&o1, &o2}, {&m1, &m2}})
        ASSERT_EQ(std::memcmp(x->data(), y->data(), x->size() * sizeof(float)), 0) << gqa::name(k->target) << rows;
      for (std::int64_t r = 0; r < rows; ++r) {
        if (kinds[r] == some_nan || kinds[r] == all_nan) {
          ASSERT_TRUE(std::isnan(l1[r * sum_lanes + 4])) << "NaN weighs NaN, in row " << r;
          continue;
        }
        ASSERT_EQ(m1[r], kinds[r] == blind ? m[r] : std::max(m[r], n[r])) << r;
        const bool scaled = m1[r] > m[r] && !std::isinf(m[r]);
        const float factor = !scaled ? 1.0f : m[r] - m1[r] <= -126 ? 0.0f : std::exp2(m[r] - m1[r]);
        for (std::int64_t i = 0; i < o_stride; ++i)
          ASSERT_EQ(o1[r * o_stride + i], o[r * o_stride + i] * factor) << "row " << r;
      }
      if (rows < most) continue;
      if (first.empty()) first = s1;
      for (std::int64_t r = 0; r < most; ++r)
        if (kinds[r] == plain) {
          ASSERT_EQ(std::memcmp(&s1[r * block_keys], &first[r * block_keys], block_keys * sizeof(float)), 0)
              << gqa::name(k->target) << " row " << r;
        }
    }
}

TEST(Kernel, LogOfTheSumIsCorrectlyRoundedAlmostAlways) {
  std::int64_t tried = 0, off = 0;
  const auto lse = [](const kernel_table& k, float(&l)[16]) {
    for (float& x : l) {
      float o[16] = {}, out[1], result = 0;
      k.finish(o, 0.0f, x, nullptr, 1, out, &result);
      x = result;
    }
  };
  over_floats(0x00800000u, 0x7f800000u, lse, [&](float l, float y) {
    const double exact = std::log(static_cast<double>(l));
    ++tried;
    off += y != static_cast<float>(exact);
    ASSERT_LE(std::fabs(y - exact), 0.500001 * (std::nextafter(std::fabs(y), INFINITY) - std::fabs(y)) + 0x1p-149) << l;
  });
  EXPECT_LT(off, tried / 100000 + 2);
}

TEST(Kernel, MultiplyAddIsFusedOnEveryTarget) {
  // alibi computes fma(slope, distance, s); distances below 2^24 are exact, slopes and s are any bits.
  std::mt19937_64 random(7);
  for (int n = 0; n < 200000; ++n) {
    const float slope = from_bits(static_cast<std::uint32_t>(random()));
    const auto distance = static_cast<std::int64_t>(random() % (1 << 24)) - (1 << 23);
    float s[16], expected[16];
    for (int i = 0; i < 16; ++i) {
      // Half of the addends nearly cancel the product, where a second rounding would show.
      const float product = slope * static_cast<float>(distance + i);
      s[i] = i % 2 ? from_bits(std::bit_cast<std::uint32_t>(-product) + static_cast<std::uint32_t>(random() % 7) - 3)
                   : from_bits(static_cast<std::uint32_t>(random()));
      expected[i] = std::fma(slope, static_cast<float>(distance + i), s[i]);
    }
    for (const kernel_table* k : tables()) {
      float y[16];
      std::memcpy(y, s, sizeof y);
      k->alibi(y, 16, slope, distance);
      for (int i = 0; i < 16; ++i)
        if (std::isnan(expected[i])) ASSERT_TRUE(std::isnan(y[i]));
        else
          ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(expected[i]))
              << gqa::name(k->target) << ": fma(" << slope << ", " << distance + i << ", " << s[i] << ")";
    }
  }
}

/// The contract's dot product, written out.
float dot_by_contract(const float* q, const float* k, std::int64_t dim) {
  float lane[8] = {};
  for (std::int64_t d = 0; d < dim; ++d) lane[d % 8] = std::fma(q[d], k[d], lane[d % 8]);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/// Offsets of up to 64 consecutive rows, one for each row or, evenly spaced, one for each group: the others then name
/// the wrong row.
struct row_offsets {
  row_offsets(std::int64_t row_bytes, bool even, std::int64_t rows_of_a_run = gqa::row_group)
      : stride(even ? row_bytes : 0), run(even ? rows_of_a_run : 1) {
    for (std::int64_t c = 0; c < block_keys; ++c) at[c] = (even && c % gqa::row_group != 0 ? 0 : c) * row_bytes;
  }
  template <class T>
  [[nodiscard]] gqa::row_set of(const std::vector<T>& rows, std::int64_t count) const {
    const gqa::row_table table{reinterpret_cast<const char*>(rows.data()), at};
    return {table, {table, stride}, count, stride, run};
  }
  /// The same, with as many bytes of `next` prefetched meanwhile, `spread` lines apart.
  template <class T>
  [[nodiscard]] gqa::row_set beside(const std::vector<T>& next, std::int64_t spread, const std::vector<T>& rows,
                                    std::int64_t count) const {
    gqa::row_set set = of(rows, count);
    set.ahead.base = reinterpret_cast<const char*>(next.data());
    set.ahead.spread = spread;
    return set;
  }
  std::int64_t at[block_keys], stride, run;
};

TEST(Kernel, EveryFormOfTheScoresFollowsTheContract) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (std::int64_t dim : {1, 3, 8, 15, 16, 20, 64, 80, 128, 129})
    for (std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 24, 25, 29, 32}) {
      const std::int64_t padded = gqa::round_up(dim, 8);
      std::vector<float> q(rows * padded), k(block_keys * dim), tiles(block_keys * dim);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t d = 0; d < dim; ++d) q[r * padded + d] = normal(random);
      for (float& x : k) x = normal(random);
      for (std::int64_t c = 0; c < block_keys; ++c)
        for (std::int64_t d = 0; d < dim; ++d) tiles[(c / 16 * dim + d) * 16 + c % 16] = k[c * dim + d];
      std::int64_t tile_offsets[block_keys / 16], panel_offsets[block_keys / 16];
      for (std::int64_t t = 0; t < block_keys / 16; ++t) {
        tile_offsets[t] = t * dim * 64;
        panel_offsets[t] = t * padded * 64;
      }
      std::vector<float> expected(rows * block_keys);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < block_keys; ++c)
          expected[r * block_keys + c] = 0.3f * dot_by_contract(&q[r * padded], &k[c * dim], dim);
      const auto bytes = [](const std::vector<float>& v) { return reinterpret_cast<const char*>(v.data()); };
      for (const kernel_table* t : tables()) {
        std::vector<float> in_tiles(gqa::round_up(rows, t->row_tile) * padded), by_lane(in_tiles.size()),
            panels(block_keys * padded);
        for (std::int64_t first = 0; first < rows; first += t->row_tile) {
          const void* tile[gqa::max_row_tile];
          const std::int64_t count = std::min(t->row_tile, rows - first);
          for (std::int64_t r = 0; r < count; ++r) tile[r] = &q[(first + r) * padded];
          t->pack_queries(tile, tile, count, dim, padded, false, &in_tiles[first * padded]);
          t->pack_queries(tile, tile, count, dim, padded, true, &by_lane[first * padded]);
          for (auto* panels_of : {&in_tiles, &by_lane})  // what is left of the last tile counts for nothing
            for (std::int64_t d = 0; d < padded; ++d)
              for (std::int64_t r = count; r < t->row_tile; ++r)
                (*panels_of)[first * padded + d * t->row_tile + r] = std::numeric_limits<float>::quiet_NaN();
        }
        std::vector<float> in_dot_tiles(rows * padded);
        for (std::int64_t first = 0, n; first < rows; first += n) {
          n = gqa::dot_tile_rows(rows, first, t->dot_rows);
          for (std::int64_t r = 0; r < n; ++r)
            t->load_query(&q[(first + r) * padded], dim, padded, &in_dot_tiles[first * padded + r * 8], n);
        }
        const auto same = [&](const std::vector<float>& s, const std::string& form) {
          EXPECT_EQ(std::memcmp(s.data(), expected.data(), expected.size() * 4), 0)
              << form << ' ' << gqa::name(t->target) << " dim " << dim << " rows " << rows;
        };
        std::vector<float> s(rows * block_keys);
        for (bool even : {false, true}) {
          const row_offsets offsets(dim * 4, even);
          for (bool in_turn : {false, true})
            for (bool halves : {false, true}) {
              std::fill(s.begin(), s.end(), 0.0f);
              t->score_dot(
                  {in_dot_tiles.data(), rows, offsets.of(k, block_keys), dim, 0.3f, s.data(), halves, in_turn});
              const std::string form = std::string("dot") + (even ? ", even keys" : "") + (in_turn ? ", in turn" : "");
              same(s, form + (halves ? ", in halves" : ""));
            }
        }
        const gqa::row_table where{bytes(tiles), tile_offsets};
        for (bool halves : {false, true})
          for (bool first_lines : {false, true}) {
            std::fill(s.begin(), s.end(), 0.0f);
            t->score_tiles(
                {in_tiles.data(), rows, {where, {where}, block_keys}, dim, 0.3f, s.data(), halves, false, first_lines});
            same(s, std::string(first_lines ? "tiles by first lines" : "tiles") + (halves ? ", in halves" : ""));
          }
        const auto score_packed = [&](const std::string& form) {
          const gqa::row_set keys{{bytes(panels), panel_offsets}, {}, block_keys};
          for (bool halves : {false, true}) {
            std::fill(s.begin(), s.end(), 0.0f);
            t->score_panels({by_lane.data(), rows, keys, dim, 0.3f, s.data(), halves});
            same(s, form + (halves ? ", in halves" : ""));
          }
          std::fill(panels.begin(), panels.end(), 0.0f);
        };
        t->pack_tiles({where, {where}, block_keys}, dim, panels.data());
        score_packed("packed tiles");
        for (bool even : {false, true}) {
          t->pack_rows(row_offsets(dim * 4, even).of(k, block_keys), dim, panels.data());
          score_packed(even ? "packed even rows" : "packed rows");
        }
      }
    }
}

TEST(Kernel, WeighingIsOneFmaChainOverKeys) {
  std::mt19937 random(13);
  std::normal_distribution<float> normal;
  for (std::int64_t dim : {1, 7, 16, 24, 48, 128, 200})
    for (std::int64_t rows = 1; rows <= 29; ++rows) {  // every way of cutting them into tiles
      const std::int64_t stride = gqa::round_up(dim, 16), keys = 37;
      std::vector<float> p(rows * block_keys), v(keys * dim), start(rows * stride);
      for (auto* x : {&p, &v, &start})
        for (float& e : *x) e = normal(random);
      std::vector<float> expected = start;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t d = 0; d < dim; ++d)
          for (std::int64_t c = 0; c < keys; ++c)
            expected[r * stride + d] = std::fma(p[r * block_keys + c], v[c * dim + d], expected[r * stride + d]);
      for (const kernel_table* t : tables())
        for (std::int64_t run : {1, 8, 16, 64}) {  // rows that lie evenly spaced
          const bool even = run > 1;
          const row_offsets offsets(dim * 4, even, run);
          std::vector<float> o = start, packed(keys * stride);
          t->weigh({p.data(), rows, offsets.of(v, keys), dim, o.data(), stride});
          for (std::int64_t r = 0; r < rows; ++r)
            EXPECT_EQ(std::memcmp(&o[r * stride], &expected[r * stride], dim * 4), 0)
                << gqa::name(t->target) << " dim " << dim << " rows " << rows << " row " << r << " run " << run;
          std::vector<float> infinite = v;
          infinite[(keys - 2) * dim] = std::numeric_limits<float>::infinity();
          EXPECT_TRUE(t->values_finite(offsets.of(v, keys), dim));
          EXPECT_FALSE(t->values_finite(offsets.of(infinite, keys), dim)) << gqa::name(t->target) << " even " << even;
          t->pack_values(offsets.of(v, keys), dim, packed.data(), stride);
          for (std::int64_t c = 0; c < keys; ++c)
            EXPECT_EQ(std::memcmp(&packed[c * stride], &v[c * dim], dim * 4), 0)
                << gqa::name(t->target) << " packed value " << c << " dim " << dim << " even " << even;
          o = start;
          const row_offsets near(stride * 4, true, block_keys);
          t->weigh_packed({p.data(), rows, near.of(packed, keys), dim, o.data(), stride});
          for (std::int64_t r = 0; r < rows; ++r)
            EXPECT_EQ(std::memcmp(&o[r * stride], &expected[r * stride], dim * 4), 0)
                << "packed, " << gqa::name(t->target) << " dim " << dim << " rows " << rows << " row " << r;
        }
    }
}

/// Keys in tiles of T score as the same numbers in f32 do. What is taken for q or a key does not matter.
template <class T>
void expect_scores_of_the_wide_tiles(const kernel_table& of_f32, const kernel_table& of_t, const std::vector<float>& q,
                                     const std::vector<float>& wide, const std::vector<T>& narrow, std::int64_t rows,
                                     std::int64_t dim) {
  std::vector<float> panels(gqa::round_up(rows, of_t.row_tile) * gqa::round_up(dim, 8));
  for (std::size_t i = 0; i < panels.size(); ++i) panels[i] = q[i % q.size()];
  std::int64_t at_f32[block_keys / 16], at_t[block_keys / 16];
  for (std::int64_t i = 0; i < block_keys / 16; ++i) {
    at_f32[i] = i * dim * 16 * 4;
    at_t[i] = i * dim * 16 * sizeof(T);
  }
  const gqa::row_table of_wide{reinterpret_cast<const char*>(wide.data()), at_f32};
  const gqa::row_table of_narrow{reinterpret_cast<const char*>(narrow.data()), at_t};
  for (bool halves : {false, true}) {
    std::vector<float> expected(rows * block_keys), s(expected.size());
    of_f32.score_tiles({panels.data(), rows, {of_wide, {of_wide}, block_keys}, dim, 0.3f, expected.data(), halves});
    of_t.score_tiles({panels.data(), rows, {of_narrow, {of_narrow}, block_keys}, dim, 0.3f, s.data(), halves});
    EXPECT_EQ(std::memcmp(s.data(), expected.data(), s.size() * 4), 0)
        << "tiles, " << gqa::name(of_t.target) << " dim " << dim << " rows " << rows << (halves ? " halves" : "");
  }
}

/// What kernels make of rows of T is bit for bit what they make of the same numbers in f32, whatever they prefetch.
template <class T, element E>
void expect_sums_of_the_wide_rows() {
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  for (std::int64_t dim : {8, 20, 64, 88, 96, 128})
    for (std::int64_t rows = 1; rows <= 32; ++rows) {
      const std::int64_t padded = gqa::round_up(dim, 8), stride = gqa::round_up(dim, 16);
      std::vector<float> q(rows * padded), p(rows * block_keys), start(rows * stride), wide(block_keys * dim);
      for (auto* x : {&q, &p, &start})
        for (float& e : *x) e = normal(random);
      std::vector<T> narrow(wide.size()), next(narrow.size());
      for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = static_cast<float>(narrow[i] = T(normal(random)));
      for (std::size_t t = 0; t < tables().size(); ++t) {
        const kernel_table *of_f32 = tables()[t], *of_t = tables<E>()[t];
        expect_scores_of_the_wide_tiles(*of_f32, *of_t, q, wide, narrow, rows, dim);
        for (std::int64_t run : {1, 8, 64}) {
          const row_offsets in_f32(dim * 4, run > 1, run), in_t(dim * sizeof(T), run > 1, run);
          const auto what = [&] {
            return testing::Message() << gqa::name(of_t->target) << " dim " << dim << " rows " << rows << " run "
                                      << run;
          };
          std::vector<float> expected(rows * block_keys), s(expected.size());
          of_f32->score_dot({q.data(), rows, in_f32.of(wide, block_keys), dim, 0.3f, expected.data()});
          for (bool in_turn : {false, true})
            for (bool halves : {false, true})
              for (std::int64_t spread : {0, 1, 8}) {
                std::fill(s.begin(), s.end(), 0.0f);
                const gqa::row_set keys =
                    spread == 0 ? in_t.of(narrow, block_keys) : in_t.beside(next, spread, narrow, block_keys);
                of_t->score_dot({q.data(), rows, keys, dim, 0.3f, s.data(), halves, in_turn});
                EXPECT_EQ(std::memcmp(s.data(), expected.data(), s.size() * 4), 0)
                    << "scores, " << what() << (in_turn ? " in turn" : "") << (halves ? " halves" : "") << ' '
                    << spread;
              }
          for (std::int64_t keys : {37, 64}) {
            std::vector<float> sums = start, o = start;
            of_f32->weigh({p.data(), rows, in_f32.of(wide, keys), dim, sums.data(), stride});
            of_t->weigh({p.data(), rows, in_t.of(narrow, keys), dim, o.data(), stride});
            std::vector<float> beside = start, by_parts = start;
            of_t->weigh({p.data(), rows, in_t.beside(next, 1, narrow, keys), dim, beside.data(), stride});
            of_t->weigh({p.data(), rows, in_t.beside(next, 8, narrow, keys), dim, by_parts.data(), stride});
            for (std::int64_t r = 0; r < rows; ++r)
              for (const auto& found : {o, beside, by_parts})
                EXPECT_EQ(std::memcmp(&found[r * stride], &sums[r * stride], dim * 4), 0)
                    << "row " << r << " of sums, " << keys << " keys, " << what();
          }
        }
      }
    }
}

TEST(Kernel, NarrowRowsGiveTheSumsOfTheWideOnes) {
  expect_sums_of_the_wide_rows<float, element::f32>();
  expect_sums_of_the_wide_rows<gqa::bf16, element::bf16>();
  expect_sums_of_the_wide_rows<gqa::f16, element::f16>();
}

}  // namespace
