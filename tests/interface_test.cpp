// Data as engines have it: packed and fused tensors, broadcast strides, V inside K, any index type, caches that lack
// early tokens, pages that are gone, plans that are updated step by step, and the one-line forms.
#include <gtest/gtest.h>

#include "support/bound.hpp"
#include "support/case_runs.hpp"
#include "support/generate.hpp"

namespace gqa_test {
namespace {

using f32_types = gqa::types<float, float, float, float>;

recipe shape(std::int64_t batch, std::int64_t q_len, std::int64_t kv_len, std::int64_t q_heads = 4,
             std::int64_t kv_heads = 2) {
  recipe r;
  r.spec.heads = {q_heads, kv_heads};
  r.spec.dims = {24, 16};
  r.spec.lse = true;
  r.batch = batch;
  r.q_len = q_len;
  r.kv_len = kv_len;
  return r;
}

/// Plan and run; out and lse sized by the caller.
template <class Types, class Layout>
void call(const gqa::dynamic_spec& spec, const gqa::batch_spec& batch, const Layout& layout,
          const gqa::tensor_layouts& tensors, const gqa::attention_io<Types>& io) {
  const gqa::status s = gqa::try_attend(spec, batch, layout, io, tensors);
  ASSERT_TRUE(s.ok()) << s.message();
}

TEST(Interface, RaggedBatchesWithEmptySequences) {
  recipe r = shape(8, 6, 290);
  r.ragged = true;
  problem p = generate(r, 1);
  p.q_lens[3] = 0;  // keys without a query
  p.q_start[3] = p.kv_lens[3];
  p.q_lens[5] = p.kv_lens[5] = p.q_start[5] = 0;
  for (const cache_kind& kind : all_cache_kinds()) {
    manner m;
    m.cache = kind;
    m.shares = 3;
    const comparison c =
        compare(as_stored<float, float, float>(p), reference(as_stored<float, float, float>(p)), run<f32_types>(p, m));
    EXPECT_TRUE(c.passed()) << m.name() << ": " << c.where;
  }
}

TEST(Interface, PackedRowsAndNarrowIndices) {
  recipe r = shape(3, 5, 100);
  r.ragged = true;
  const problem p = generate(r, 2);
  const auto want = run<f32_types>(p, {});
  const stored_cache<float, float> cache(p, {});
  const std::vector<float> padded = rounded<float>(p.q);

  // Packed: rows of all sequences one behind the other, sequence 2 first.
  std::vector<std::int32_t> q_lens, kv_lens, first(3);
  for (std::size_t b = 0; b < 3; ++b) {
    q_lens.push_back(static_cast<std::int32_t>(p.q_lens[b]));
    kv_lens.push_back(static_cast<std::int32_t>(p.kv_lens[b]));
  }
  first = {q_lens[2], q_lens[2] + q_lens[0], 0};
  const std::size_t rows = static_cast<std::size_t>(q_lens[0] + q_lens[1] + q_lens[2]);
  std::vector<float> q(rows * 4 * 24), out(rows * 4 * 16 + 1, canary), lse(rows * 4 + 1, canary);
  for (std::size_t b = 0; b < 3; ++b)
    std::copy_n(&padded[b * 5 * 4 * 24], static_cast<std::size_t>(q_lens[b]) * 4 * 24, q.begin() + first[b] * 4 * 24);

  gqa::batch_spec batch{3, q_lens, kv_lens, {}};
  gqa::tensor_layouts tensors;
  tensors.q = gqa::row_layout{0, 4 * 24, 24, first};
  tensors.out = gqa::row_layout{0, 4 * 16, 16, first};
  tensors.lse = gqa::row_layout{0, 4, 1, first};
  gqa::attention_io<f32_types> io;
  io.q = q.data();
  io.k = cache.k();
  io.v = cache.v();
  io.out = out.data();
  io.lse = lse.data();
  cache.visit([&](const auto& layout) { call(p.spec, batch, layout, tensors, io); });
  for (std::size_t b = 0; b < 3; ++b) {
    const std::size_t n = static_cast<std::size_t>(q_lens[b]) * 4;
    EXPECT_EQ(0, std::memcmp(&out[static_cast<std::size_t>(first[b]) * 4 * 16], &want.out[b * 5 * 4 * 16],
                             n * 16 * sizeof(float)));
    EXPECT_EQ(0, std::memcmp(&lse[static_cast<std::size_t>(first[b]) * 4], &want.lse[b * 5 * 4], n * sizeof(float)));
  }
  EXPECT_EQ(out.back(), canary);
  EXPECT_EQ(lse.back(), canary);
}

TEST(Interface, FusedQkvAndHeadMajorOutput) {
  recipe r = shape(2, 7, 7);
  r.spec.dims = {16, 16};
  problem p = generate(r, 3);
  const auto want = run<f32_types>(p, {});
  const std::int64_t row = (4 + 2 + 2) * 16;  // [batch][token][q heads, k heads, v heads][dim]
  std::vector<float> fused(static_cast<std::size_t>(2 * 7 * row));
  for (std::int64_t t = 0; t < 14; ++t)
    for (std::int64_t d = 0; d < 16; ++d) {
      float* token = &fused[static_cast<std::size_t>(t * row)];
      for (std::int64_t h = 0; h < 4; ++h) token[h * 16 + d] = static_cast<float>(p.q_at(t / 7, t % 7, h, d));
      for (std::int64_t g = 0; g < 2; ++g) {
        token[(4 + g) * 16 + d] = static_cast<float>(p.k_at(t / 7, t % 7, g, d));
        token[(6 + g) * 16 + d] = static_cast<float>(p.v_at(t / 7, t % 7, g, d));
      }
    }
  std::vector<float> out(want.out.size(), canary), lse(want.lse.size(), canary);
  const gqa::contiguous_layout layout(2, 7, {row, 16}, 7 * row, {row, 16}, 7 * row);
  gqa::tensor_layouts tensors;
  tensors.q = gqa::row_layout{7 * row, row, 16, {}};
  tensors.out = gqa::row_layout{4 * 7 * 16, 16, 7 * 16, {}};  // [batch][head][token][dim]
  tensors.lse = gqa::row_layout{4 * 7, 1, 7, {}};
  gqa::attention_io<f32_types> io;
  io.q = fused.data();
  io.k = fused.data() + 4 * 16;
  io.v = fused.data() + 6 * 16;
  io.out = out.data();
  io.lse = lse.data();
  call(p.spec, {2, 7, 7, {}}, layout, tensors, io);
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t i = 0; i < 7; ++i)
      for (std::size_t h = 0; h < 4; ++h) {
        EXPECT_EQ(0, std::memcmp(&out[((b * 4 + h) * 7 + i) * 16], &want.out[((b * 7 + i) * 4 + h) * 16],
                                 16 * sizeof(float)));
        EXPECT_EQ(lse[(b * 4 + h) * 7 + i], want.lse[(b * 7 + i) * 4 + h]);
      }
}

TEST(Interface, BroadcastInputs) {
  recipe r = shape(2, 3, 50);
  r.spec.bias = r.spec.mask = true;
  problem p = generate(r, 4);
  // One query for all heads, one bias row for all queries and sequences, one mask for all.
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t i = 0; i < 3; ++i) {
      for (std::int64_t h = 0; h < 4; ++h)
        for (std::int64_t d = 0; d < 24; ++d) p.q_at(b, i, h, d) = p.q_at(0, i, 0, d);
      for (std::size_t j = 0; j < 50; ++j) {
        const std::size_t at = static_cast<std::size_t>(b * 3 + i) * 50 + j;
        p.bias[at] = p.bias[j];
        p.mask[at] = p.mask[j];
      }
    }
  const auto want = run<f32_types>(p, {});
  const stored_cache<float, float> cache(p, {});
  std::vector<float> q(3 * 24), bias = rounded<float>(p.bias), out(want.out.size()), lse(want.lse.size());
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t d = 0; d < 24; ++d)
      q[static_cast<std::size_t>(i * 24 + d)] = static_cast<float>(p.q_at(0, i, 0, d));
  gqa::tensor_layouts tensors;
  tensors.q = gqa::row_layout{0, 24, 0, {}};
  tensors.bias = {0, 0, 0, 1};
  tensors.mask = {0, 0, 0, 1};
  gqa::attention_io<f32_types> io;
  io.q = q.data();
  io.k = cache.k();
  io.v = cache.v();
  io.out = out.data();
  io.lse = lse.data();
  io.bias = bias.data();
  io.mask = p.mask.data();
  cache.visit([&](const auto& layout) { call(p.spec, {2, 3, 50, {}}, layout, tensors, io); });
  EXPECT_EQ(out, want.out);
  EXPECT_EQ(lse, want.lse);
}

TEST(Interface, ValuesInsideKeys) {  // the absorbed form of multi-head latent attention
  recipe r = shape(2, 3, 300, 16, 1);
  r.spec.dims = {72, 64};
  problem p = generate(r, 5);
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t j = 0; j < 300; ++j)
      for (std::int64_t d = 0; d < 64; ++d) p.v_at(b, j, 0, d) = p.k_at(b, j, 0, d);
  const auto want = run<f32_types>(p, {});
  const std::vector<float> q = rounded<float>(p.q), k = rounded<float>(p.k);
  std::vector<float> out(want.out.size());
  const gqa::contiguous_layout layout(2, 300, {72, 72}, 300 * 72, {72, 72}, 300 * 72);
  gqa::dynamic_spec spec = p.spec;
  spec.lse = false;
  gqa::attention_io<f32_types> io;
  io.q = q.data();
  io.k = io.v = k.data();
  io.out = out.data();
  call(spec, {2, 3, 300, {}}, layout, {}, io);
  EXPECT_EQ(out, want.out);
}

/// A cache that begins at position 512 answers as the whole one where the window hides what it lacks; so does a page
/// table whose early pages are gone.
TEST(Interface, CachesThatLackEarlyTokens) {
  recipe r = shape(1, 3, 700);
  r.spec.window = 150;
  const problem p = generate(r, 6);
  const auto want = run<f32_types>(p, {});
  const std::vector<float> q = rounded<float>(p.q), k = rounded<float>(p.k), v = rounded<float>(p.v);
  std::vector<float> out(want.out.size()), lse(want.lse.size());
  gqa::attention_io<f32_types> io;
  io.q = q.data();
  io.k = k.data() + 512 * 2 * 24;
  io.v = v.data() + 512 * 2 * 16;
  io.out = out.data();
  io.lse = lse.data();
  const gqa::contiguous_layout tail(1, 188, {2 * 24, 24}, 0, {2 * 16, 16}, 0, gqa::key_order::rows, 512);
  call(p.spec, {1, 3, 700, {}}, tail, {}, io);
  EXPECT_EQ(out, want.out);
  EXPECT_EQ(lse, want.lse);

  std::vector<std::int32_t> ids(70);  // pages of 10 tokens; query 697 sees keys from 548 on
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = i < 54 ? -7 : static_cast<std::int32_t>(i) - 54;
  io.k = k.data() + 540 * 2 * 24;
  io.v = v.data() + 540 * 2 * 16;
  std::fill(out.begin(), out.end(), canary);
  call(p.spec, {1, 3, 700, {}},
       gqa::paged_layout::token_major(gqa::page_table_view::padded(ids.data(), 1, 70), 16, 10, 2, 24, 16), {}, io);
  EXPECT_EQ(out, want.out);
}

/// One plan for the longest step, updated for every token, answers as a plan made for that step.
TEST(Interface, UpdatedPlanEqualsFreshOne) {
  const problem p = generate(shape(2, 1, 600), 7);
  const stored_cache<float, float> cache(p, {});
  const std::vector<float> q = rounded<float>(p.q);
  cache.visit([&](const auto& layout) {
    using layout_type = std::decay_t<decltype(layout)>;
    using plan_for_layout = gqa::attention_plan<f32_types, layout_type>;
    gqa::plan_options options;
    options.shares = 3;
    options.max_kv_len = 600;
    plan_for_layout kept;
    ASSERT_TRUE(plan_for_layout::make(kept, p.spec, {2, 1, 1, {}}, layout, {}, options).ok());
    std::vector<std::byte> workspace(kept.workspace_bytes());
    for (const std::int64_t len : {1, 2, 64, 65, 256, 257, 600, 3}) {
      const std::vector<std::int64_t> lens = {len, (len + 1) / 2};
      const gqa::batch_spec batch{2, 1, lens, {}};
      ASSERT_TRUE(kept.update(batch, layout).ok());
      ASSERT_LE(kept.workspace_bytes(), workspace.size());
      std::vector<float> out(2 * 4 * 16), lse(2 * 4), fresh_out(out), fresh_lse(lse);
      gqa::attention_io<f32_types> io;
      io.q = q.data();
      io.k = cache.k();
      io.v = cache.v();
      io.out = out.data();
      io.lse = lse.data();
      const gqa::status s = kept.run(io, workspace, gqa::sequential_executor{});
      ASSERT_TRUE(s.ok()) << s.message();
      io.out = fresh_out.data();
      io.lse = fresh_lse.data();
      call(p.spec, batch, layout, {}, io);
      EXPECT_EQ(out, fresh_out) << len << " tokens";
      EXPECT_EQ(lse, fresh_lse) << len << " tokens";
    }
  });
}

/// Queries may stand past the last key (keys of later positions lie elsewhere) or, where attention is not causal,
/// before the first.
TEST(Interface, ExplicitPositions) {
  for (const bool causal : {true, false})
    for (const std::int64_t start : {0, 40, 97, 98, 100, 150, 1000, -3, -50}) {
      if (causal && start < 0) continue;
      recipe r = shape(2, 5, 100);
      r.spec.causal = causal;
      r.spec.window = start % 2 == 0 ? -1 : 60;
      r.spec.sink_tokens = 2;
      r.spec.alibi = true;
      problem p = generate(r, 10);
      p.q_start = {start, start + 1};
      p = as_stored<float, float, float>(p);
      for (const cache_kind& kind : {cache_kind{order::token_major}, {order::tiled}, {order::head_major, 7}}) {
        manner m;
        m.cache = kind;
        m.shares = 2;
        const auto whole = run<f32_types>(p, m);
        const comparison c = compare(p, reference(p), whole);
        EXPECT_TRUE(c.passed()) << "start " << start << ", " << m.name() << ": " << c.where;
        m.chunk = 2;
        EXPECT_TRUE(run<f32_types>(p, m).same_bits(whole)) << "start " << start << ", " << m.name();
      }
    }
}

TEST(Interface, OneLineForms) {
  const problem p = generate(shape(2, 3, 50), 8);
  const auto want = run<f32_types>(p, {});
  const std::vector<float> q = rounded<float>(p.q), k = rounded<float>(p.k), v = rounded<float>(p.v);
  const auto layout = gqa::contiguous_layout::token_major(2, 50, 2, 24, 16);
  gqa::attention_spec<gqa::heads<4, 2>, gqa::dims<24, 16>> spec;
  std::vector<float> out(want.out.size());
  gqa::attend(spec, {2, 3, 50, {}}, gqa::kv_view<float, float, gqa::contiguous_layout>{k.data(), v.data(), layout},
              q.data(), out.data());
  EXPECT_EQ(out, want.out);

  spec.lse = true;
  std::vector<float> again(want.out.size()), lse(want.lse.size());
  gqa::attention_io<f32_types> io;
  io.q = q.data();
  io.k = k.data();
  io.v = v.data();
  io.out = again.data();
  io.lse = lse.data();
  gqa::attend(spec, {2, 3, 50, {}}, layout, io);
  EXPECT_EQ(again, want.out);
  EXPECT_EQ(lse, want.lse);
}

TEST(Interface, PageTablesInBothFormsAgree) {
  recipe r = shape(3, 2, 90);
  r.ragged = true;
  const problem p = generate(r, 9);
  const auto want = run<f32_types>(p, {});
  for (const std::int64_t size : {1, 2, 13, 16, 64, 100})
    for (const bool csr : {false, true}) {
      manner m;
      m.cache = {order::head_major, size, csr};
      EXPECT_TRUE(run<f32_types>(p, m).same_bits(want)) << m.name();
    }
}

}  // namespace
}  // namespace gqa_test
