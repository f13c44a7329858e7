// A plan over its life: packed rows that move between updates, outputs that would overlap, plans moved from, absurd
// batches, and one answer where a value is infinite.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <gqa/gqa.hpp>
#include <limits>
#include <utility>
#include <vector>

namespace {

using plan_type = gqa::attention_plan<gqa::types<float>, gqa::contiguous_layout>;
using spec_type = gqa::attention_spec<gqa::heads<2, 1>, gqa::dims<4>>;
constexpr std::int64_t dim = 4, q_heads = 2, row = q_heads * dim;

const gqa::contiguous_layout three = gqa::contiguous_layout::token_major(3, 16, 1, dim, dim);

gqa::batch_spec decode_of_three() {
  gqa::batch_spec batch;
  batch.size = 3;
  batch.kv_lens = 5;
  return batch;
}

TEST(Plan, PackedOutputsOfOneTokenMayNotOverlap) {
  const std::vector<std::int64_t> first{0, 1, 2};
  const auto made = [&](std::int64_t token, std::int64_t head) {
    plan_type plan;
    gqa::tensor_layouts tensors;
    tensors.out = gqa::row_layout{0, token, head, first};
    return plan_type::make(plan, spec_type{}, decode_of_three(), three, tensors);
  };
  for (std::int64_t token : {std::int64_t{0}, std::int64_t{1}, dim, row - 1}) {
    const gqa::status s = made(token, dim);
    EXPECT_EQ(s.code, gqa::errc::overlap) << token << ": " << s.message();
    EXPECT_STREQ(s.argument, "out");
  }
  EXPECT_EQ(made(dim, dim).code, gqa::errc::overlap) << "head-major with room for one token";
  EXPECT_TRUE(made(row, dim).ok());
  EXPECT_TRUE(made(dim, 3 * dim).ok()) << "head-major with room for three";
}

TEST(Plan, UpdateReadsPackedOffsetsAgain) {
  std::vector<std::int64_t> first{0, 1, 2};
  gqa::tensor_layouts tensors;
  tensors.q = tensors.out = gqa::row_layout{0, row, dim, first};
  plan_type plan;
  ASSERT_TRUE(plan_type::make(plan, spec_type{}, decode_of_three(), three, tensors).ok());
  std::vector<float> k(3 * 16 * dim, 0.5f), v(3 * 16 * dim), q(3 * row, 1.0f), out(3 * row, -1.0f);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / (16 * dim));  // the sequence's number
  std::vector<std::byte> workspace(plan.workspace_bytes());
  gqa::attention_io<gqa::types<float>> io{.q = q.data(), .k = k.data(), .v = v.data(), .out = out.data()};
  const gqa::sequential_executor executor;
  ASSERT_TRUE(plan.run(io, workspace, executor).ok());
  for (std::int64_t b = 0; b < 3; ++b) EXPECT_EQ(out[b * row], static_cast<float>(b));
  first = {2, 0, 1};
  ASSERT_TRUE(plan.update(decode_of_three(), three).ok());
  ASSERT_TRUE(plan.run(io, workspace, executor).ok());
  for (std::int64_t b = 0; b < 3; ++b) EXPECT_EQ(out[first[b] * row], static_cast<float>(b));
}

// Counts the passes over the items.
struct counting_executor {
  int passes = 0;
  template <class F>
  void parallel_for(std::int64_t n, F f) {
    ++passes;
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
};

TEST(Plan, FewChunksAreSharedByHeadsInOnePassWhereTheyDivide) {
  constexpr std::int64_t kv_heads = 8, heads = 16, capacity = 4096;
  using of_eight = gqa::attention_spec<gqa::heads<heads, kv_heads>, gqa::dims<dim>>;
  const gqa::contiguous_layout one = gqa::contiguous_layout::token_major(1, capacity, kv_heads, dim, dim);
  const std::vector<float> cache(capacity * kv_heads * dim, 0.5f), q(heads * dim, 1.0f);
  std::vector<float> out(heads * dim);
  const auto passes = [&](std::int64_t kv_len, std::int64_t shares) {
    gqa::batch_spec batch;
    batch.kv_lens = kv_len;
    plan_type plan;
    EXPECT_TRUE(plan_type::make(plan, of_eight{}, batch, one, {}, {.shares = shares}).ok());
    std::vector<std::byte> workspace(plan.workspace_bytes());
    const gqa::attention_io<gqa::types<float>> io{
        .q = q.data(), .k = cache.data(), .v = cache.data(), .out = out.data()};
    counting_executor executor;
    EXPECT_TRUE(plan.run(io, workspace, executor).ok());
    return executor.passes;
  };
  for (const std::int64_t shares : {1, 2, 4, 8})
    for (std::int64_t chunks = 1; chunks < 2 * shares; ++chunks)
      EXPECT_EQ(passes(chunks * gqa::chunk_tokens, shares), 1) << chunks << " chunks, " << shares << " shares";
  EXPECT_EQ(passes(15 * gqa::chunk_tokens, 2), 2) << "chunks enough";
}

TEST(Plan, AMovedFromOrEmptyPlanRefuses) {
  plan_type plan, empty;
  ASSERT_TRUE(plan_type::make(plan, spec_type{}, decode_of_three(), three).ok());
  const plan_type taken = std::move(plan);
  EXPECT_GT(taken.workspace_bytes(), 0u);
  std::vector<std::byte> workspace(taken.workspace_bytes());
  for (plan_type* p : {&plan, &empty}) {
    EXPECT_EQ(p->run({}, workspace, gqa::sequential_executor{}).code, gqa::errc::not_planned);
    EXPECT_EQ(p->update(decode_of_three(), three).code, gqa::errc::not_planned);
  }
}

TEST(Plan, AnAbsurdBatchIsAnErrorAtOnce) {
  gqa::batch_spec batch = decode_of_three();
  batch.size = std::int64_t{1} << 62;
  plan_type plan;
  const gqa::status s = plan_type::make(plan, spec_type{}, batch, three);
  EXPECT_EQ(s.code, gqa::errc::out_of_range);
  EXPECT_STREQ(s.argument, "batch");
}

TEST(Plan, LseStridesOfNoLseAreNotLookedAt) {
  const std::vector<std::int64_t> too_short{0};
  gqa::tensor_layouts tensors;
  tensors.lse = gqa::row_layout{0, q_heads, 1, too_short};
  plan_type plan;
  EXPECT_TRUE(plan_type::make(plan, spec_type{}, decode_of_three(), three, tensors).ok());
}

/// The last query's row, from a prefill of `q_len` queries, with an all-true mask where `masked`.
std::vector<float> last_row(const std::vector<float>& k, const std::vector<float>& v, std::int64_t q_len, bool masked) {
  const std::int64_t tokens = std::ssize(k) / dim;
  spec_type spec;
  spec.mask = masked;
  gqa::batch_spec batch;
  batch.q_lens = q_len;
  batch.kv_lens = tokens;
  std::vector<float> q(q_len * row, 1.0f), out(q_len * row);
  const std::vector<std::uint8_t> mask(q_len * tokens, 1);
  gqa::tensor_layouts tensors;
  tensors.mask = {0, 0, tokens, 1};
  gqa::attention_io<gqa::types<float>> io{.q = q.data(), .k = k.data(), .v = v.data(), .out = out.data()};
  if (masked) io.mask = mask.data();
  const gqa::status s =
      gqa::try_attend(spec, batch, gqa::contiguous_layout::token_major(1, tokens, 1, dim, dim), io, tensors);
  EXPECT_TRUE(s.ok()) << s.message();
  return {out.end() - row, out.end()};
}

TEST(Plan, AnInfiniteValueOfVanishingWeightCountsTheSameHoweverItIsAsked) {
  std::vector<float> k(3 * dim, 0.0f), v(3 * dim, 1.0f);
  for (std::int64_t d = 0; d < dim; ++d) {
    k[d] = -1000.0f;  // a visible key whose weight is too small for a number
    v[d] = std::numeric_limits<float>::infinity();
  }
  for (std::int64_t q_len : {1, 2, 3})
    for (bool masked : {false, true})
      for (float x : last_row(k, v, q_len, masked)) EXPECT_TRUE(std::isnan(x)) << q_len << ' ' << masked << ' ' << x;
}

}  // namespace
