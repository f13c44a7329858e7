// What a plan refuses: every precondition on counts, lengths, layouts and strides, by name, with nothing written.
#include "support/broken_call.hpp"

#include <cmath>

namespace gqa_test {
namespace {

using C = contiguous_call&;
using P = paged_call&;

TEST(Input, ValidCallsSucceed) {
  contiguous_call c;
  gqa::status s = c.attempt();
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(c.out[0], 2.0f * 4 / 5);  // four keys and the sink, all of one score
  EXPECT_EQ(c.out.back(), untouched_value);
  EXPECT_EQ(c.lse.back(), untouched_value);
  paged_call p;
  s = p.attempt();
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(p.out, c.out);
}

TEST(Input, Counts) {
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-1}, -huge}) {
    refused(kind::value, {"q_heads"}, [&](C c) { c.spec.heads.q_heads = n; });
    refused(kind::value, {"kv_heads"}, [&](C c) { c.spec.heads.kv_heads = n; });
    refused(kind::value, {"head_dim"}, [&](C c) { c.spec.dims.head_dim = n; });
    refused(kind::value, {"v_head_dim"}, [&](C c) { c.spec.dims.v_head_dim = n; });
  }
  refused(kind::value, {"kv_heads"}, [](C c) { c.spec.heads.kv_heads = 3; });
  refused(kind::value, {"kv_heads"}, [](C c) { c.spec.heads.kv_heads = 8; });
  refused(kind::value, {"head_dim"}, [](C c) { c.spec.dims.head_dim = 1025; });
  refused(kind::value, {"v_head_dim"}, [](C c) { c.spec.dims.v_head_dim = 1025; });
  refused(kind::value, {"batch"}, [](C c) { c.batch.size = -1; });
}

TEST(Input, Features) {
  for (const double x : {std::nan(""), HUGE_VAL, -HUGE_VAL, 1e39}) {
    refused(kind::value, {"scale"}, [&](C c) { c.spec.scale = x; });
    refused(kind::value, {"softcap"}, [&](C c) { c.spec.softcap = x; });
  }
  refused(kind::value, {"softcap"}, [](C c) { c.spec.softcap = -1; });
  refused(kind::value, {"softcap"}, [](C c) { c.spec.softcap = 1e-40; });
  refused(kind::value, {"window"}, [](C c) { c.spec.window = -2; });
  refused(kind::value, {"sink_tokens"}, [](C c) { c.spec.sink_tokens = -1; });
}

TEST(Input, Lengths) {
  refused(kind::value, {"q_lens"}, [](C c) { c.batch.q_lens = {}; });
  refused(kind::value, {"kv_lens"}, [](C c) { c.batch.kv_lens = {}; });
  refused(kind::value, {"q_lens"}, [](C c) { c.q_lens.resize(1), c.batch.q_lens = c.q_lens; });
  refused(kind::value, {"kv_lens"}, [](C c) { c.kv_lens.resize(1), c.batch.kv_lens = c.kv_lens; });
  refused(kind::value, {"q_start"}, [](C c) { c.q_start.resize(1), c.batch.q_start = c.q_start; });
  refused(kind::value, {"q_lens"}, [](C c) { c.q_lens[1] = -1; });
  refused(kind::value, {"kv_lens"}, [](C c) { c.kv_lens[1] = -1; });
  refused(kind::value, {"q_lens"}, [](C c) { c.q_lens[0] = 6; });  // more queries than tokens, causal
  refused(kind::value, {"q_lens", "kv_lens"}, [](C c) { c.kv_lens[0] = 0; });
  refused(kind::value, {"kv_lens", "capacity"}, [](C c) { c.kv_lens[1] = 9; });
  refused(kind::value, {"kv_lens", "capacity"}, [](C c) { c.kv_lens[1] = huge; });
  refused(kind::value, {"q_start"}, [](C c) { c.q_start[0] = -1, c.batch.q_start = c.q_start; });
  EXPECT_FALSE([] {
    contiguous_call c;
    c.q_start[0] = huge;
    c.batch.q_start = c.q_start;
    return c.attempt().ok();
  }());
}

TEST(Input, ErrorsNameTheElement) {
  contiguous_call c;
  c.kv_lens[1] = 9;
  const gqa::status s = c.attempt();
  EXPECT_STREQ(s.argument, "kv_lens");
  EXPECT_EQ(s.index, 1);
  EXPECT_EQ(s.value, 9);
  EXPECT_NE(s.message().find("kv_lens[1] is 9"), std::string::npos) << s.message();
}

TEST(Input, ContiguousCache) {
  using L = gqa::contiguous_layout;
  refused(kind::value, {"capacity"}, [](C c) { c.layout = L::token_major(2, -1, 2, 8, 8); });
  refused(kind::value, {"capacity"}, [](C c) { c.layout = L::tiled(2, 8, 2, 8, 8); });
  refused(kind::value, {"sequences"}, [](C c) { c.layout = L::token_major(-2, 8, 2, 8, 8); });
  refused(kind::value, {"batch", "sequences"}, [](C c) { c.layout = L::token_major(1, 8, 2, 8, 8); });
  refused(kind::value, {"k_strides"}, [](C c) { c.layout = L(2, 8, {-16, 8}, 128, {16, 8}, 128); });
  refused(kind::value, {"k_strides"}, [](C c) { c.layout = L(2, 8, {16, -8}, 128, {16, 8}, 128); });
  refused(kind::value, {"v_strides"}, [](C c) { c.layout = L(2, 8, {16, 8}, 128, {-16, 8}, 128); });
  refused(kind::value, {"k_batch"}, [](C c) { c.layout = L(2, 8, {16, 8}, -128, {16, 8}, 128); });
  refused(kind::value, {"v_batch"}, [](C c) { c.layout = L(2, 8, {16, 8}, 128, {16, 8}, -128); });
  refused(kind::value, {"first_positions"}, [](C c) {
    c.layout = L(2, 8, {16, 8}, 128, {16, 8}, 128, gqa::key_order::rows, -1);
  });
  refused(kind::overflow, {"k"}, [](C c) { c.layout = L(2, 8, {huge / 2, 8}, 128, {16, 8}, 128); });
  refused(kind::overflow, {"v"}, [](C c) { c.layout = L(2, 8, {16, 8}, 128, {16, huge / 2}, huge); });
  refused(kind::overflow, {"k"}, [](C c) { c.layout = L::token_major(huge / 4, huge / 4, 2, 8, 8); });
  // A token that some query sees, but that the cache no longer holds.
  refused(kind::value, {"first_positions", "kv_lens", "window"}, [](C c) {
    c.layout = L(2, 8, {16, 8}, 128, {16, 8}, 128, gqa::key_order::rows, 2);
  });
}

TEST(Input, PagedCache) {
  refused_paged(kind::value, {"page_size"}, [](P p) { p.layout = p.make(4, 0); });
  refused_paged(kind::value, {"page_size"}, [](P p) { p.layout = p.make(4, -4); });
  refused_paged(kind::value, {"num_pages"}, [](P p) { p.layout = p.make(-1, 4); });
  refused_paged(kind::value, {"page_size"}, [](P p) {
    p.layout = gqa::paged_layout::tiled(gqa::page_table_view::padded(p.ids.data(), 2, 3), 4, 8, 2, 8, 8);
  });
  refused_paged(kind::value, {"page_table"}, [](P p) { p.ids[1] = 4; });
  refused_paged(kind::value, {"page_table"}, [](P p) { p.ids[3] = -1; });
  refused_paged(kind::value, {"page_table", "kv_lens"}, [](P p) { p.layout = p.make(4, 4, 1); });
  refused_paged(kind::value, {"page_table", "batch"}, [](P p) {
    p.layout = gqa::paged_layout::token_major(gqa::page_table_view::padded(p.ids.data(), 1, 3), 4, 4, 2, 8, 8);
  });
  refused_paged(kind::null, {"page_table"}, [](P p) {
    p.layout = gqa::paged_layout::token_major(gqa::page_table_view::padded(nullptr, 2, 3), 4, 4, 2, 8, 8);
  });
  const auto csr = [](P p) {
    p.layout = gqa::paged_layout::token_major(gqa::page_table_view::csr(p.ids, p.indptr), 4, 4, 2, 8, 8);
  };
  refused_paged(kind::value, {"page_table"}, [&](P p) { p.indptr = {0, 4, 3}, csr(p); });
  refused_paged(kind::value, {"page_table"}, [&](P p) { p.indptr = {0, 3, 7}, csr(p); });
  refused_paged(kind::value, {"page_table"}, [&](P p) { p.indptr = {-1, 3, 6}, csr(p); });
  refused_paged(kind::value, {"page_table", "kv_lens"}, [&](P p) { p.indptr = {0, 1, 4}, csr(p); });
  refused_paged(kind::overflow, {"k"}, [](P p) { p.layout = p.make(huge / 4, 4); });
  refused_paged(kind::overflow, {"k"}, [](P p) { p.layout = p.make(4, huge / 4); });
}

TEST(Input, TensorStrides) {
  const gqa::row_layout rows{3 * 4 * 8, 4 * 8, 8, {}}, lse_rows{3 * 4, 4, 1, {}};
  for (const auto& [name, member] : {std::pair{"q", &gqa::tensor_layouts::q},
                                     {"out", &gqa::tensor_layouts::out},
                                     {"lse", &gqa::tensor_layouts::lse}}) {
    const gqa::row_layout good = member == &gqa::tensor_layouts::lse ? lse_rows : rows;
    for (const auto stride : {&gqa::row_layout::batch, &gqa::row_layout::token, &gqa::row_layout::head}) {
      gqa::row_layout bad = good;
      bad.*stride = -8;
      refused(kind::value, {name}, [&, to = member](C c) { c.tensors.*to = bad; });
      bad.*stride = huge / 2;
      refused(kind::overflow, {name}, [&, to = member](C c) { c.tensors.*to = bad; });
    }
    const std::vector<std::int64_t> first = {0}, negative = {0, -2}, far = {0, huge / 2};
    gqa::row_layout packed = good;
    packed.first_token = first;
    refused(kind::value, {name}, [&, to = member](C c) { c.tensors.*to = packed; });
    packed.first_token = negative;
    refused(kind::value, {name}, [&, to = member](C c) { c.tensors.*to = packed; });
    packed.first_token = far;
    refused(kind::overflow, {name}, [&, to = member](C c) { c.tensors.*to = packed; });
  }
  for (const auto& [name, member] :
       {std::pair{"bias", &gqa::tensor_layouts::bias}, {"mask", &gqa::tensor_layouts::mask}})
    for (const auto stride :
         {&gqa::score_layout::batch, &gqa::score_layout::head, &gqa::score_layout::query, &gqa::score_layout::key}) {
      gqa::score_layout bad{96, 24, 8, 1};
      bad.*stride = -1;
      refused(kind::value, {name}, [&, to = member](C c) { c.tensors.*to = bad; });
      bad.*stride = huge / 2;
      refused(kind::overflow, {name}, [&, to = member](C c) { c.tensors.*to = bad; });
    }
}

/// Inputs may broadcast; two rows written to one place may not.
TEST(Input, OutputRowsMayNotShareBytes) {
  for (const gqa::row_layout rows :
       {gqa::row_layout{96, 32, 4, {}}, gqa::row_layout{96, 0, 8, {}}, gqa::row_layout{0, 32, 8, {}}})
    refused(kind::overlap, {"out"}, [&](C c) { c.tensors.out = rows; });
  for (const gqa::row_layout rows :
       {gqa::row_layout{12, 4, 0, {}}, gqa::row_layout{12, 0, 1, {}}, gqa::row_layout{0, 4, 1, {}}})
    refused(kind::overlap, {"lse"}, [&](C c) { c.tensors.lse = rows; });
}

TEST(Input, SizesThatDoNotFit64Bits) {
  refused(kind::overflow, {"q", "q_heads"}, [](C c) { c.spec.heads = {huge / 2, 1}; });
  refused(kind::overflow, {"k"}, [](C c) {
    c.spec.heads = {huge / 2, huge / 2};
    c.layout = gqa::contiguous_layout::token_major(2, 8, huge / 2, 8, 8);
  });
}

TEST(Input, Options) {
  refused(kind::value, {"shares"}, [](C c) { c.options.shares = 0; });
  refused(kind::value, {"shares"}, [](C c) { c.options.shares = -3; });
  refused(kind::value, {"max_batch"}, [](C c) { c.options.max_batch = -1; });
  refused(kind::value, {"max_q_len"}, [](C c) { c.options.max_q_len = -1; });
  refused(kind::value, {"max_kv_len"}, [](C c) { c.options.max_kv_len = -1; });
}

}  // namespace
}  // namespace gqa_test
