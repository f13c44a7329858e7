// What a query may not see does not exist for it: masked keys, other sequences, bytes past the lengths and free pages
// change no bit of its answer, whatever they hold.
#include <gtest/gtest.h>

#include "support/bound.hpp"
#include "support/case_runs.hpp"
#include "support/generate.hpp"

namespace gqa_test {
namespace {

using f32_types = gqa::types<float, float, float, float>;

recipe plain(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t batch, std::int64_t q_len, std::int64_t kv_len) {
  recipe r;
  r.spec.heads = {q_heads, kv_heads};
  r.spec.dims = {24, 40};
  r.spec.lse = true;
  r.batch = batch;
  r.q_len = q_len;
  r.kv_len = kv_len;
  return r;
}

std::vector<problem> problems_with_hidden_keys() {
  std::vector<recipe> recipes;
  recipes.push_back(plain(4, 2, 1, 3, 700));
  recipes.back().spec.window = 100;
  recipes.back().spec.sink_tokens = 5;
  recipes.push_back(plain(4, 2, 2, 4, 300));
  recipes.back().spec.bias = recipes.back().spec.mask = true;
  recipes.push_back(plain(3, 1, 1, 2, 2049));
  recipes.back().spec.window = 600;
  recipes.back().spec.sink_tokens = 300;
  recipes.back().spec.mask = true;
  recipes.push_back(plain(4, 4, 3, 5, 130));
  recipes.back().ragged = true;
  std::vector<problem> out;
  for (std::size_t i = 0; i < recipes.size(); ++i) out.push_back(generate(recipes[i], 40 + i));
  return out;
}

/// Fills the keys and values that no query of the whole problem sees.
problem with_unseen_set_to(problem p, double value) {
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t g = 0; g < p.kv_heads(); ++g)
      for (std::int64_t j = 0; j < p.kv_len; ++j) {
        bool seen = false;
        const std::int64_t group_size = p.q_heads() / p.kv_heads();
        for (std::int64_t h = g * group_size; h < (g + 1) * group_size; ++h)
          for (std::int64_t i = 0; i < p.q_len; ++i) seen = seen || p.sees(b, i, h, j);
        if (seen) continue;
        for (std::int64_t d = 0; d < p.head_dim(); ++d) p.k_at(b, j, g, d) = value;
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) p.v_at(b, j, g, d) = value;
      }
  return p;
}

TEST(Absent, UnseenTokensMayHoldAnything) {
  for (problem& p : problems_with_hidden_keys()) {
    // Beside what chance hides: a stretch of keys that every row's mask hides.
    if (p.spec.mask)
      for (std::size_t at = 0; at < p.mask.size(); ++at)
        if (static_cast<std::int64_t>(at) % p.kv_len >= 60 && static_cast<std::int64_t>(at) % p.kv_len < 140)
          p.mask[at] = 0;
    const problem zeros = with_unseen_set_to(p, 0);
    const problem stored = as_stored<float, float, float>(zeros);
    const auto want = run<f32_types>(zeros, {});
    const comparison c = compare(stored, reference(stored), want);
    EXPECT_TRUE(c.passed()) << p.name << ": " << c.where;
    for (const double value : {nan, infinity, -infinity, 1e38})
      for (const cache_kind& kind : all_cache_kinds())
        for (const std::int64_t chunk : {0, 1}) {
          manner m;
          m.cache = kind;
          m.chunk = chunk;
          m.poison = value;
          m.shares = 2;
          EXPECT_TRUE(run<f32_types>(with_unseen_set_to(p, value), m).same_bits(want))
              << p.name << ": " << value << " in " << m.name();
        }
  }
}

TEST(Absent, FreeBytesMayHoldAnything) {
  const problem p = generate(plain(6, 2, 2, 3, 77), 50);
  for (const cache_kind& kind : all_cache_kinds()) {
    manner m;
    m.cache = kind;
    m.poison = 0;
    const auto want = run<f32_types>(p, m);
    for (const double poison : {nan, infinity, -infinity, 3e38}) {
      m.poison = poison;
      EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << poison << " in " << m.name();
      EXPECT_TRUE((run<gqa::types<float, gqa::bf16, gqa::bf16, float>>(p, m).same_bits(
          run<gqa::types<float, gqa::bf16, gqa::bf16, float>>(p, {}))))
          << poison << " in bf16 " << m.name();
    }
  }
}

/// Rows beside it in the same tile see the poisoned token and become NaN; rows that do not see it keep their bits.
TEST(Absent, PoisonStaysWithTheRowsThatSeeIt) {
  for (const bool in_keys : {false, true})
    for (const double value : {nan, infinity}) {
      problem p = generate(plain(4, 2, 1, 40, 300), 51);
      const auto want = run<f32_types>(p, {});
      const std::int64_t token = 281;  // queries 260 ... 299: 21 of them before it
      for (std::int64_t d = 0; in_keys && d < p.head_dim(); ++d) p.k_at(0, token, 1, d) = value;
      for (std::int64_t d = 0; !in_keys && d < p.v_head_dim(); ++d) p.v_at(0, token, 1, d) = value;
      for (const cache_kind& kind : all_cache_kinds()) {
        manner m;
        m.cache = kind;
        const auto got = run<f32_types>(p, m);
        for (std::int64_t i = 0; i < p.q_len; ++i)
          for (std::int64_t h = 0; h < 4; ++h) {
            const bool touched = h >= 2 && p.sees(0, i, h, token);
            const auto row = static_cast<std::size_t>(i * 4 + h);
            const std::size_t first = row * static_cast<std::size_t>(p.v_head_dim());
            if (touched) {  // a row whose own scores meet NaN is outside the promise; its values are not
              EXPECT_TRUE(in_keys || !std::isfinite(got.out[first])) << m.name() << " query " << i << " head " << h;
            } else {
              EXPECT_EQ(0, std::memcmp(&got.out[first], &want.out[first],
                                       sizeof(float) * static_cast<std::size_t>(p.v_head_dim())))
                  << m.name() << " query " << i << " head " << h;
              EXPECT_EQ(0, std::memcmp(&got.lse[row], &want.lse[row], sizeof(float)))
                  << m.name() << " query " << i << " head " << h;
            }
          }
      }
    }
}

/// A problem of the sequences of `p` named by `which`, in that order.
problem pick(problem p, const std::vector<std::int64_t>& which) {
  problem out = make_problem(p.spec, static_cast<std::int64_t>(which.size()), p.q_len, p.kv_len, p.bias_heads);
  out.sinks = p.sinks;
  out.alibi_slopes = p.alibi_slopes;
  const auto copy = [&](auto& to, const auto& from, std::size_t at, std::int64_t source) {
    const std::size_t n = from.size() / static_cast<std::size_t>(p.batch);
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(n * static_cast<std::size_t>(source)), n,
                to.begin() + static_cast<std::ptrdiff_t>(n * at));
  };
  for (std::size_t at = 0; at < which.size(); ++at) {
    copy(out.q, p.q, at, which[at]);
    copy(out.k, p.k, at, which[at]);
    copy(out.v, p.v, at, which[at]);
    copy(out.bias, p.bias, at, which[at]);
    copy(out.mask, p.mask, at, which[at]);
    copy(out.q_lens, p.q_lens, at, which[at]);
    copy(out.kv_lens, p.kv_lens, at, which[at]);
    copy(out.q_start, p.q_start, at, which[at]);
  }
  return out;
}

TEST(Absent, BatchMatesChangeNoBit) {
  recipe r = plain(6, 3, 6, 9, 600);
  r.ragged = true;
  r.spec.sinks = r.spec.alibi = r.spec.bias = r.spec.mask = true;
  const problem p = generate(r, 52);
  const auto together = run<f32_types>(p, {});
  const std::size_t out_size = together.out.size() / 6, lse_size = together.lse.size() / 6;
  const auto expect_same = [&](const std::vector<std::int64_t>& which, std::int64_t shares) {
    manner m;
    m.shares = shares;
    m.cache = {order::head_major, 16};
    const auto got = run<f32_types>(pick(p, which), m);
    for (std::size_t at = 0; at < which.size(); ++at) {
      const auto source = static_cast<std::size_t>(which[at]);
      EXPECT_EQ(0, std::memcmp(&got.out[at * out_size], &together.out[source * out_size], out_size * sizeof(float)))
          << "sequence " << source;
      EXPECT_EQ(0, std::memcmp(&got.lse[at * lse_size], &together.lse[source * lse_size], lse_size * sizeof(float)))
          << "sequence " << source;
    }
  };
  for (std::int64_t b = 0; b < 6; ++b) expect_same({b}, 1 + b % 3);
  expect_same({5, 4, 3, 2, 1, 0}, 4);
  expect_same({2, 2, 0}, 3);
}

}  // namespace
}  // namespace gqa_test
