// The bits depend on the question alone: layout, page size, chunking, share count, executor, target, alignment, batch
// mates, unseen bytes and the caller's float flags change nothing that memcmp can see.
#include <gtest/gtest.h>

#include <gqa/plan/executor_eigen.hpp>

#include "support/bound.hpp"
#include "support/case_runs.hpp"
#include "support/executors.hpp"
#include "support/generate.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

/// Several chunks of keys each; windows that begin inside a chunk; first tokens visible with whole chunks hidden
/// between.
std::vector<problem> long_problems() {
  std::vector<recipe> recipes;
  recipes.push_back({make_spec(8, 2, 64, 64), 1, 5, 700});
  recipes.push_back({make_spec(6, 2, 40, 24), 1, 7, 2049});
  recipes.back().spec.window = 300;
  recipes.back().spec.sink_tokens = 5;
  recipes.back().spec.softcap = 20;
  recipes.back().spec.alibi = true;
  recipes.push_back({make_spec(5, 1, 32, 48), 1, 3, 5000, 5});
  recipes.back().spec.window = 1000;
  recipes.back().spec.sink_tokens = 300;
  recipes.back().spec.sinks = recipes.back().spec.bias = recipes.back().spec.mask = true;
  recipes.push_back({make_spec(3, 3, 17, 9), 3, 6, 700});
  recipes.back().ragged = true;
  recipes.push_back({make_spec(4, 2, 16, 16), 2, 4, 2049, 1});
  recipes.back().spec.causal = false;
  recipes.back().spec.bias = recipes.back().spec.mask = true;
  recipes.push_back({make_spec(29, 1, 8, 8), 1, 4, 5000});
  recipes.push_back({make_spec(18, 6, 64, 64), 1, 1, 700});  // heads that lie apart are walked four at a time,
  recipes.push_back({make_spec(10, 5, 32, 32), 2, 1, 700});  // and what is left of them
  std::vector<problem> out;
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    out.push_back(generate(recipes[i], 1000 + i));
    out.back().name = "problem " + std::to_string(i);
  }
  return out;
}

/// A prefill: rows enough for every row tile, keys up to each row's own position.
problem prefill_problem() {
  recipe r{make_spec(4, 2, 24, 32), 1, 700, 700};
  r.spec.window = 190;
  r.spec.sink_tokens = 3;
  problem p = generate(r, 77);
  p.name = "prefill";
  return p;
}

manner with(cache_kind cache, std::int64_t shares = 1, std::int64_t chunk = 0) {
  manner m;
  m.cache = cache;
  m.shares = shares;
  m.chunk = chunk;
  return m;
}

/// The answer of the plainest run, checked against the oracle.
template <class Types = f32_types>
answer<typename Types::out> checked_answer(const problem& question) {
  const problem p = as_stored<typename Types::q, typename Types::k, typename Types::v>(question);
  answer<typename Types::out> a = run<Types>(p, {});
  const comparison c = compare(p, reference(p), a);
  EXPECT_TRUE(c.passed()) << p.name << ": " << c.where;
  return a;
}

TEST(Bits, LayoutPageSizeAndChunkingChangeNone) {
  std::vector<problem> problems = long_problems();
  problems.push_back(prefill_problem());
  for (const problem& p : problems) {
    const auto want = checked_answer(p);
    for (const cache_kind& kind : all_cache_kinds())
      for (std::int64_t chunk : {0, 1, 2, 64}) {
        if (chunk >= p.q_len || (chunk != 0 && p.q_len / chunk > 100)) continue;
        const manner m = with(kind, 1, chunk);
        EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << p.name << ": " << m.name();
      }
  }
  const problem prefill = prefill_problem();
  const auto want = checked_answer(prefill);
  EXPECT_TRUE(run<f32_types>(prefill, with({order::token_major}, 1, 1)).same_bits(want)) << "token by token";
  EXPECT_TRUE(run<f32_types>(prefill, with({order::tiled, 16}, 3, 13)).same_bits(want)) << "chunks of 13";
}

TEST(Bits, ShareCountAndExecutorChangeNone) {
  Eigen::ThreadPool pool(3);
  std::vector<problem> problems = long_problems();
  problems.push_back(prefill_problem());
  for (const problem& p : problems) {
    const auto want = checked_answer(p);
    for (std::int64_t shares = 1; shares <= 16; ++shares) {
      const manner m = with({order::token_major, shares % 2 == 0 ? 7 : 0}, shares);
      EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << p.name << ": " << m.name();
      EXPECT_TRUE(run<f32_types>(p, m, gqa::eigen_executor(pool)).same_bits(want))
          << p.name << ": Eigen's pool, " << m.name();
      EXPECT_TRUE(run<f32_types>(p, m, reversed_threads{}).same_bits(want))
          << p.name << ": reversed threads, " << m.name();
    }
  }
}

TEST(Bits, TargetChangesNone) {
  for (const problem& p : long_problems()) {
    const auto want = checked_answer(p);
    for (gqa::isa target : gqa::all_isas) {
      if (!gqa::is_supported(target)) {
        std::printf("not run: %s\n", gqa::name(target));
        continue;
      }
      for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}, {order::head_major, 7}}) {
        manner m = with(kind, 2);
        m.target = target;
        EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << p.name << ": " << m.name();
      }
    }
  }
}

TEST(Bits, GroupedEqualsRepeatedHeads) {
  for (const std::int64_t group_size : {2, 3, 5, 8}) {
    const problem p = generate({make_spec(2 * group_size, 2, 48, 20), 2, 4, 700, 1, true}, 5);
    problem repeated = make_problem(p.spec, p.batch, p.q_len, p.kv_len);
    repeated = p;
    repeated.spec.heads = {2 * group_size, 2 * group_size};
    repeated.k.assign(p.k.size() * static_cast<std::size_t>(group_size), 0);
    repeated.v.assign(p.v.size() * static_cast<std::size_t>(group_size), 0);
    problem source = p;
    for (std::int64_t b = 0; b < p.batch; ++b)
      for (std::int64_t j = 0; j < p.kv_len; ++j)
        for (std::int64_t h = 0; h < p.q_heads(); ++h) {
          for (std::int64_t d = 0; d < p.head_dim(); ++d)
            repeated.k_at(b, j, h, d) = source.k_at(b, j, h / group_size, d);
          for (std::int64_t d = 0; d < p.v_head_dim(); ++d)
            repeated.v_at(b, j, h, d) = source.v_at(b, j, h / group_size, d);
        }
    EXPECT_TRUE(checked_answer(repeated).same_bits(checked_answer(p))) << "group of " << group_size;
  }
}

TEST(Bits, StaticCountsEqualDynamicOnes) {
  const problem p = generate({make_spec(8, 2, 64, 64), 2, 3, 700}, 6);
  const stored_cache<float, float> cache(p, {order::token_major});
  const auto want = checked_answer(p);
  gqa::attention_spec<gqa::heads<8, 2>, gqa::dims<64>> both;
  both.lse = true;
  EXPECT_TRUE(run_as<f32_types>(p, both, cache, {}).same_bits(want));
  gqa::attention_spec<gqa::heads<8, 2>, gqa::dims<>> counts;
  counts.dims = {64, 64};
  counts.lse = true;
  EXPECT_TRUE(run_as<f32_types>(p, counts, cache, {}).same_bits(want));

  const problem one = generate({make_spec(4, 1, 64, 64), 1, 3, 300}, 7);
  gqa::attention_spec<gqa::mqa<4>, gqa::dims<64>> mqa;
  mqa.lse = true;
  EXPECT_TRUE(run_as<f32_types>(one, mqa, stored_cache<float, float>(one, {}), {}).same_bits(checked_answer(one)));
  const problem all = generate({make_spec(4, 4, 64, 64), 1, 3, 300}, 8);
  gqa::attention_spec<gqa::mha<4>, gqa::dims<64>> mha;
  mha.lse = true;
  EXPECT_TRUE(run_as<f32_types>(all, mha, stored_cache<float, float>(all, {}), {}).same_bits(checked_answer(all)));
}

template <class T>
void expect_same_as_f32_cache(problem p) {
  round_in_place<T>(p.k);
  round_in_place<T>(p.v);
  const auto want = checked_answer(p);
  for (const cache_kind& kind : all_cache_kinds()) {
    const manner m = with(kind, 3);
    EXPECT_TRUE((run<gqa::types<float, T, T, float>>(p, m).same_bits(want)))
        << "both 16 bit: " << p.name << ": " << m.name();
    EXPECT_TRUE((run<gqa::types<float, T, float, float>>(p, m).same_bits(want)))
        << "k 16 bit: " << p.name << ": " << m.name();
    EXPECT_TRUE((run<gqa::types<float, float, T, float>>(p, m).same_bits(want)))
        << "v 16 bit: " << p.name << ": " << m.name();
  }
}

TEST(Bits, StorageHoldingTheSameValuesChangesNone) {
  for (const problem& p : long_problems()) {
    expect_same_as_f32_cache<gqa::f16>(p);
    expect_same_as_f32_cache<gqa::bf16>(p);
  }
  problem few = generate({make_spec(2, 1, 8, 8), 1, 2, 70}, 9);
  for (double& x : few.k) x *= 0x1p-20;  // subnormal in f16
  for (double& x : few.v) x *= 0x1p-20;
  expect_same_as_f32_cache<gqa::f16>(few);
}

template <class Out>
void expect_rounded(const problem& p) {
  const auto wide = run<f32_types>(p, {});
  const auto narrow = run<gqa::types<float, float, float, Out>>(p, {});
  for (std::size_t i = 0; i < wide.out.size(); ++i)
    ASSERT_EQ(static_cast<float>(narrow.out[i]), static_cast<float>(static_cast<Out>(wide.out[i])))
        << p.name << " at " << i;
  EXPECT_EQ(narrow.lse, wide.lse);
}

TEST(Bits, NarrowOutputIsTheWideOneRounded) {
  for (const problem& p : long_problems()) {
    expect_rounded<gqa::f16>(p);
    expect_rounded<gqa::bf16>(p);
  }
}

TEST(Bits, PointerAlignmentChangesNone) {
  const problem p = generate({make_spec(6, 2, 40, 24), 2, 5, 300, 1, true}, 11);
  const problem halves = as_stored<gqa::f16, gqa::f16, gqa::f16>(p);
  const auto want = checked_answer(p);
  const auto want_f16 = checked_answer<gqa::types<gqa::f16>>(halves);
  for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}, {order::head_major, 7}})
    for (std::int64_t offset = 1; offset <= 17; ++offset) {
      manner m = with(kind, 2);
      m.offset = offset;
      EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << m.name() << ", offset " << offset;
      EXPECT_TRUE(run<gqa::types<gqa::f16>>(halves, m).same_bits(want_f16)) << m.name() << ", f16, offset " << offset;
    }
}

#if defined(__x86_64__)
/// Runs items under a foreign float state, as a pool whose threads inherited one, and notes whether they give it back.
struct foreign_float_state {
  unsigned state;
  bool* restored;
  template <class F>
  void parallel_for(std::int64_t n, F f) const {
    const unsigned saved = _mm_getcsr();
    for (std::int64_t i = 0; i < n; ++i) {
      _mm_setcsr(state);
      f(i);
      *restored = *restored && (_mm_getcsr() & 0xffc0u) == (state & 0xffc0u);  // all but the sticky exception flags
    }
    _mm_setcsr(saved);
  }
};

TEST(Bits, CallersFloatStateChangesNoneAndIsRestored) {
  constexpr unsigned flush = 0x8040, round_to_zero = 0x6000;  // results and operands that are subnormal; rounding
  recipe tiny{make_spec(4, 2, 16, 16), 1, 3, 300};
  std::vector<problem> problems = long_problems();
  problems.push_back(generate(tiny, 21));
  for (double& x : problems.back().v) x *= 0x1p-140;  // subnormal values, too coarse for the relative bound
  for (const problem& p : problems) {
    const auto want = run<f32_types>(p, {});
    const unsigned saved = _mm_getcsr();
    for (const unsigned change : {flush, round_to_zero, flush | round_to_zero}) {
      bool restored = true;
      const auto got =
          run<f32_types>(p, with({order::token_major, 7}, 3), foreign_float_state{saved | change, &restored});
      EXPECT_TRUE(got.same_bits(want)) << p.name << ", mxcsr bits " << change;
      EXPECT_TRUE(restored) << p.name << ", mxcsr bits " << change;
    }
  }
}
#endif

}  // namespace
}  // namespace gqa_test
