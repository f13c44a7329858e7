// Small facts about attention that need no oracle, and shapes and features against the oracle.
#include <gtest/gtest.h>

#include <numeric>

#include "support/bound.hpp"
#include "support/case_runs.hpp"
#include "support/generate.hpp"

namespace gqa_test {
namespace {

using f32_types = gqa::types<float, float, float, float>;

gqa::dynamic_spec make_spec(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t v_dim) {
  gqa::dynamic_spec s;
  s.heads = {q_heads, kv_heads};
  s.dims = {dim, v_dim};
  s.lse = true;
  return s;
}

template <class Types = f32_types>
void expect_matches_reference(const problem& question, const manner& m = {}) {
  const problem p = as_stored<typename Types::q, typename Types::k, typename Types::v>(question);
  const comparison c = compare(p, reference(p), run<Types>(p, m));
  EXPECT_TRUE(c.passed()) << p.name << ", " << m.name() << ": " << c.where;
}

TEST(Facts, OneKeyGivesItsValue) {
  for (const bool zero_score : {true, false}) {
    problem p = as_stored<float, float, float>(generate({make_spec(6, 2, 20, 33), 1, 1, 1}, 1));
    if (zero_score) p.q.assign(p.q.size(), 0);
    for (const cache_kind& kind : all_cache_kinds()) {
      manner m;
      m.cache = kind;
      const auto a = run<f32_types>(p, m);
      for (std::int64_t h = 0; h < 6; ++h)
        for (std::int64_t d = 0; d < 33; ++d) {
          const auto v = static_cast<float>(p.v_at(0, 0, h / 3, d)), got = a.out[static_cast<std::size_t>(h * 33 + d)];
          // p * v / p: two roundings, none where p is 1.
          EXPECT_LE(std::abs(got - v), zero_score ? 0 : std::abs(v) * 0x1p-23f) << kind.name();
        }
    }
  }
}

TEST(Facts, EqualScoresGiveTheMeanExactly) {
  for (const std::int64_t kv_len : {1, 2, 3, 64, 65, 255, 256, 257, 1000, 4097}) {
    problem p = make_problem(make_spec(4, 2, 16, 5), 1, 1, kv_len);
    double sum[5] = {};
    for (std::int64_t j = 0; j < kv_len; ++j)
      for (std::int64_t d = 0; d < 5; ++d) {
        p.k_at(0, j, 0, d) = p.k_at(0, j, 1, d) = static_cast<double>(j % 7);
        p.v_at(0, j, 0, d) = p.v_at(0, j, 1, d) = static_cast<double>((j * (d + 3)) % 17);  // sums are exact in f32
        sum[d] += static_cast<double>((j * (d + 3)) % 17);
      }
    const auto a = run<f32_types>(p, {});
    for (std::size_t h = 0; h < 4; ++h) {
      for (std::size_t d = 0; d < 5; ++d)
        EXPECT_EQ(a.out[h * 5 + d], static_cast<float>(sum[d]) / static_cast<float>(kv_len)) << kv_len << " keys";
      EXPECT_NEAR(a.lse[h], std::log(static_cast<double>(kv_len)), 8 * 0x1p-24) << kv_len << " keys";
    }
  }
}

TEST(Facts, QueryHeadReadsItsGroupsKvHead) {
  for (std::int64_t q_heads = 1; q_heads <= 24; ++q_heads)
    for (std::int64_t kv_heads = 1; kv_heads <= q_heads; ++kv_heads) {
      if (q_heads % kv_heads != 0) continue;
      problem p = make_problem(make_spec(q_heads, kv_heads, 4, kv_heads), 1, 2, 3);  // v of KV head g: one-hot at g
      for (std::int64_t j = 0; j < 3; ++j)
        for (std::int64_t g = 0; g < kv_heads; ++g) p.v_at(0, j, g, g) = 1;
      const auto a = run<f32_types>(p, {});
      for (std::int64_t row = 0; row < 2 * q_heads; ++row)
        for (std::int64_t g = 0; g < kv_heads; ++g)
          EXPECT_EQ(a.out[static_cast<std::size_t>(row * kv_heads + g)],
                    row % q_heads / (q_heads / kv_heads) == g ? 1.0f : 0.0f)
              << q_heads << " heads over " << kv_heads;
    }
}

/// With q = 0 and one-hot values, out[j] of a row is 1 / (visible keys) where key j is seen, else 0.
TEST(Facts, VisibleKeysAreThoseOfTheInequalities) {
  constexpr std::int64_t n = 40;
  for (const bool causal : {true, false})
    for (const std::int64_t window : {-1, 0, 1, 2, 5, 16, 17, 39, 40, 41})
      for (const std::int64_t sink_tokens : {0, 1, 3, 16, 40, 50}) {
        gqa::dynamic_spec s = make_spec(2, 1, 3, n);
        s.causal = causal;
        s.window = window;
        s.sink_tokens = sink_tokens;
        problem p = make_problem(s, 1, n, n);
        for (std::int64_t j = 0; j < n; ++j) p.v_at(0, j, 0, j) = 1;
        manner tiles;
        tiles.cache = {order::tiled};
        for (const manner& m : {manner{}, tiles}) {
          const auto a = run<f32_types>(p, m);
          for (std::int64_t i = 0; i < n; ++i) {
            std::vector<bool> seen(n);
            for (std::int64_t j = 0; j < n; ++j)
              seen[static_cast<std::size_t>(j)] =
                  (!causal || j <= i) && (window < 0 || j > i - window || j < sink_tokens);
            const auto count = static_cast<float>(std::accumulate(seen.begin(), seen.end(), 0));
            for (std::int64_t h = 0; h < 2; ++h) {
              for (std::int64_t j = 0; j < n; ++j)
                ASSERT_EQ(a.out[static_cast<std::size_t>((i * 2 + h) * n + j)],
                          seen[static_cast<std::size_t>(j)] ? 1 / count : 0.0f)
                    << "causal " << causal << ", window " << window << ", sink_tokens " << sink_tokens << ", query "
                    << i << ", key " << j;
              const float lse = a.lse[static_cast<std::size_t>(i * 2 + h)];
              if (count == 0) ASSERT_EQ(lse, -std::numeric_limits<float>::infinity());
              else ASSERT_NEAR(lse, std::log(count), 8 * 0x1p-24);
            }
          }
        }
      }
}

TEST(Facts, SinkTakesItsShareOfTheDenominator) {
  gqa::dynamic_spec s = make_spec(3, 1, 8, 2);
  s.sinks = true;
  problem p = make_problem(s, 1, 1, 5);
  p.sinks = {0, std::log(5.0), -2};
  for (std::int64_t j = 0; j < 5; ++j) p.v_at(0, j, 0, 0) = 1;
  const auto a = run<f32_types>(p, {});
  EXPECT_FLOAT_EQ(a.out[0], 5.0f / 6);
  EXPECT_FLOAT_EQ(a.out[2], 0.5f);
  EXPECT_FLOAT_EQ(a.out[4], static_cast<float>(5 / (5 + std::exp(-2.0))));
  EXPECT_NEAR(a.lse[1], std::log(10.0), 8 * 0x1p-24);

  p.spec.window = 0;  // no key is visible: the sink alone, which has no value
  const auto none = run<f32_types>(p, {});
  for (std::size_t h = 0; h < 3; ++h) {
    EXPECT_EQ(none.out[2 * h], 0.0f);
    EXPECT_FALSE(std::signbit(none.out[2 * h]));
    EXPECT_NEAR(none.lse[h], static_cast<float>(p.sinks[h]), 8 * 0x1p-24);
  }
}

TEST(Facts, LargeScoresDoNotOverflow) {
  for (const double size : {1e2, 1e4, 1e6}) {
    gqa::dynamic_spec s = make_spec(4, 2, 16, 16);
    s.scale = size;
    expect_matches_reference(generate({s, 1, 5, 300}, 2));
    s.scale = -size;
    expect_matches_reference(generate({s, 1, 5, 300}, 2));
  }
  // Scores far below zero are visible all the same: a finite bias hides nothing.
  for (const double bias : {-1e3, -1e6, -1e30, 1e30}) {
    gqa::dynamic_spec s = make_spec(2, 1, 4, 1);
    s.bias = true;
    problem p = make_problem(s, 1, 2, 300);
    for (double& x : p.bias) x = bias;
    for (double& x : p.v) x = 3;
    const auto a = run<f32_types>(p, {});
    for (const float x : a.out) EXPECT_NEAR(x, 3, 3 * 2 * 300 * 0x1p-24) << "bias " << bias;  // two sums of 300 terms
    for (const float x : a.lse) EXPECT_NEAR(x, bias, std::abs(bias) * 1e-2) << "bias " << bias;
  }
}

TEST(Features, EachAloneAndAllTogether) {
  for (int which = 0; which <= 9; ++which) {
    const auto on = [&](int feature) { return which == feature || which == 9; };
    recipe r{make_spec(6, 2, 32, 24), 3, 9, 333};
    r.ragged = true;
    if (on(0)) r.spec.scale = 0.3;
    if (on(1)) r.spec.window = 70;
    if (on(2)) r.spec.sink_tokens = 4;
    if (on(3)) r.spec.softcap = 3;
    r.spec.alibi = on(4);
    r.spec.bias = on(5);
    r.spec.mask = on(6);
    r.spec.sinks = on(7);
    r.spec.causal = !on(8);
    if (on(5) && which == 9) r.bias_heads = 6;
    for (const gqa::isa target : gqa::all_isas) {
      if (!gqa::is_supported(target)) continue;
      manner m;
      m.target = target;
      m.cache = {order::tiled, 16};
      m.shares = 3;
      const problem p = generate(r, 60 + static_cast<std::uint64_t>(which));
      expect_matches_reference(p, m);
      expect_matches_reference<gqa::types<gqa::bf16>>(p, m);
      expect_matches_reference<gqa::types<gqa::f16>>(p, m);
      expect_matches_reference<gqa::types<gqa::bf16, gqa::f16, float, gqa::f16>>(p, m);
    }
  }
}

TEST(Shapes, EveryKindOfHeadDim) {
  std::vector<std::int64_t> dims(41);
  std::iota(dims.begin(), dims.end(), 1);
  for (const std::int64_t d : {63, 64, 65, 80, 96, 127, 128, 129, 192, 255, 256, 257, 320, 512, 576, 1023, 1024})
    dims.push_back(d);
  for (std::size_t i = 0; i < dims.size(); ++i)
    for (const std::int64_t v_dim : {dims[i], dims[dims.size() - 1 - i]})
      for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}})
        for (const gqa::isa target : gqa::all_isas) {
          if (!gqa::is_supported(target)) continue;
          manner m;
          m.cache = kind;
          m.target = target;
          expect_matches_reference(generate({make_spec(3, 1, dims[i], v_dim), 1, 3, 37}, 80 + i), m);
        }
}

TEST(Shapes, EveryGroupSizeAndRowCount) {
  for (const std::int64_t group_size : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 29, 32, 71, 128})
    for (const std::int64_t q_len : {1, 2, 3, 8})
      for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}, {order::head_major, 7}}) {
        manner m;
        m.cache = kind;
        expect_matches_reference(generate({make_spec(2 * group_size, 2, 24, 24), 1, q_len, 100}, 90), m);
      }
}

TEST(Shapes, EveryLengthAroundTheBlocks) {
  for (std::int64_t kv_len = 0; kv_len <= 70; ++kv_len)
    for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}, {order::token_major, 7}}) {
      manner m;
      m.cache = kind;
      expect_matches_reference(generate({make_spec(3, 1, 8, 8), 1, std::min<std::int64_t>(kv_len, 2), kv_len}, 100), m);
    }
  for (const std::int64_t kv_len : {127, 128, 129, 255, 256, 257, 511, 512, 513, 767, 769, 1023, 1024, 1025})
    for (const std::int64_t q_len : {1, 5})
      expect_matches_reference(generate({make_spec(3, 1, 8, 8), 1, q_len, kv_len}, 101));
}

/// Cross attention: not causal, more queries than keys, positions below zero.
TEST(Shapes, MoreQueriesThanKeys) {
  gqa::dynamic_spec s = make_spec(4, 2, 16, 16);
  s.causal = false;
  expect_matches_reference(generate({s, 1, 9, 4}, 110));
  expect_matches_reference(generate({s, 1, 9, 0}, 111));
  s.window = 3;
  s.alibi = true;
  expect_matches_reference(generate({s, 2, 9, 4}, 112));
}

}  // namespace
}  // namespace gqa_test
