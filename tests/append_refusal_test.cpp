// Everything that append refuses, with the cache unchanged.
#include <gtest/gtest.h>

#include <algorithm>
#include <gqa/kv/append.hpp>
#include <gqa/kv/contiguous.hpp>
#include <gqa/kv/paged.hpp>
#include <string>
#include <vector>

namespace {

using gqa::contiguous_layout;
using gqa::errc;
using gqa::key_order;
using gqa::kv_shape;
using gqa::kv_source;
using gqa::kv_strides;
using gqa::page_table_view;
using gqa::paged_layout;

// A correct call whose arguments each test spoils one at a time.
struct call {
  kv_shape shape{2, 4, 3};
  std::vector<float> k = std::vector<float>(2 * 8 * 2 * 4, -1), v = std::vector<float>(2 * 8 * 2 * 3, -1);
  std::vector<float> k_src = std::vector<float>(64, 1), v_src = std::vector<float>(64, 2);
  contiguous_layout layout = contiguous_layout::token_major(2, 8, 2, 4, 3);
  gqa::token_range range{1, 2, 3};
  kv_source<float> source = gqa::dense_source(k_src.data(), v_src.data(), shape);
  float* k_to = k.data();
  float* v_to = v.data();

  [[nodiscard]] gqa::status run() { return run(layout); }
  template <class Layout>
  [[nodiscard]] gqa::status run(const Layout& l) {
    return gqa::try_append(k_to, v_to, l, shape, range, source);
  }
  template <class Layout>
  void refuses(const Layout& l, errc code, const std::string& argument, std::int64_t value) {
    const auto k_before = k, v_before = v;
    const gqa::status s = run(l);
    EXPECT_EQ(s.code, code) << s.message();
    EXPECT_EQ(s.argument, argument) << s.message();
    EXPECT_EQ(s.value, value) << s.message();
    EXPECT_EQ(k, k_before);
    EXPECT_EQ(v, v_before);
    EXPECT_THROW(gqa::append(k_to, v_to, l, shape, range, source), gqa::error);
  }
  void refuses(errc code, const std::string& argument, std::int64_t value) { refuses(layout, code, argument, value); }
  template <class T>
  static std::int64_t address(const T* p) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p));
  }
};

TEST(AppendRefuses, NothingWhereAllIsRight) {
  call c;
  EXPECT_TRUE(c.run().ok());
  EXPECT_NO_THROW(gqa::append(c.k_to, c.v_to, c.layout, c.shape, c.range, c.source));
}

TEST(AppendRefuses, Counts) {
  call c;
  c.shape.kv_heads = 0;
  c.refuses(errc::invalid_argument, "kv_heads", 0);
  c.shape = {2, -4, 3};
  c.refuses(errc::invalid_argument, "head_dim", -4);
  c.shape = {2, 4, 0};
  c.refuses(errc::invalid_argument, "v_head_dim", 0);
  c.shape = {2, 4, 3};
  c.range.tokens = -1;
  c.refuses(errc::invalid_argument, "tokens", -1);
}

TEST(AppendRefuses, Ranges) {
  call c;
  for (const std::int64_t seq : {-1, 2}) {
    c.range.seq = seq;
    c.refuses(errc::out_of_range, "seq", seq);
  }
  c.range = {1, -1, 3};
  c.refuses(errc::out_of_range, "position", -1);
  c.range = {1, 6, 3};
  c.refuses(errc::out_of_range, "tokens", 3);
  c.range = {1, 9, 0};
  c.refuses(errc::out_of_range, "tokens", 0);
  c.range = {1, 2, INT64_MAX};
  c.refuses(errc::out_of_range, "tokens", INT64_MAX);
  const std::vector<std::int32_t> first{0, 16};
  const contiguous_layout later(2, 8, {8, 4}, 64, {6, 3}, 48, key_order::rows, first);
  c.range = {1, 15, 1};
  c.refuses(later, errc::out_of_range, "position", 15);
  c.range = {1, 22, 3};
  c.refuses(later, errc::out_of_range, "tokens", 3);
  c.range = {1, 21, 3};
  EXPECT_TRUE(c.run(later).ok());
}

TEST(AppendRefuses, Pointers) {
  call c;
  c.k_to = nullptr;
  c.refuses(errc::null_pointer, "k", 0);
  c = call();
  c.v_to = nullptr;
  c.refuses(errc::null_pointer, "v", 0);
  call d;
  d.source.k = nullptr;
  d.refuses(errc::null_pointer, "source.k", 0);
  call e;
  e.source.v = nullptr;
  e.refuses(errc::null_pointer, "source.v", 0);
  const auto odd = [](auto* p) {
    using pointer = decltype(p);
    return reinterpret_cast<pointer>(reinterpret_cast<std::uintptr_t>(p) + 2);
  };
  call f;
  f.k_to = odd(f.k_to);
  f.refuses(errc::misaligned, "k", call::address(f.k_to));
  call g;
  g.v_to = odd(g.v_to);
  g.refuses(errc::misaligned, "v", call::address(g.v_to));
  call h;
  h.source.k = odd(h.source.k);
  h.refuses(errc::misaligned, "source.k", call::address(h.source.k));
  call i;
  i.source.v = odd(i.source.v);
  i.refuses(errc::misaligned, "source.v", call::address(i.source.v));
}

TEST(AppendRefuses, SourceStrides) {
  call c;
  c.source.k_strides.token = -8;
  c.refuses(errc::invalid_argument, "source.k_strides", -8);
  c.source.k_strides = {INT64_MAX / 2, 4};
  c.refuses(errc::overflow, "source.k_strides", INT64_MAX / 2);
  call d;
  d.source.v_strides.head = -3;
  d.refuses(errc::invalid_argument, "source.v_strides", -3);
  d.source.v_strides = {INT64_MAX / 16, 3};
  d.refuses(errc::overflow, "source.v_strides", INT64_MAX / 16);
}

TEST(AppendRefuses, LayoutsThatFailTheirOwnCheck) {
  call c;
  c.refuses(contiguous_layout::tiled(2, 20, 2, 4, 3), errc::invalid_argument, "capacity", 20);
  c.refuses(contiguous_layout(2, 8, {-8, 4}, 64, {6, 3}, 48), errc::invalid_argument, "k_strides", -8);
}

TEST(AppendRefuses, PagesOutsideThePoolAndTablesTooShort) {
  call c;
  const std::vector<std::int32_t> ids{0, 7, -1, 1};
  const auto layout = paged_layout::token_major(page_table_view::padded(ids.data(), 1, 4), 4, 2, 2, 4, 3);
  c.range = {0, 0, 2};
  EXPECT_TRUE(c.run(layout).ok());
  c.range = {0, 0, 3};
  c.refuses(layout, errc::out_of_range, "page_table", 7);
  c.range = {0, 4, 3};
  c.refuses(layout, errc::out_of_range, "page_table", -1);
  c.range = {0, 6, 3};
  c.refuses(layout, errc::out_of_range, "tokens", 3);
}

TEST(AppendRefuses, DestinationRowsThatOverlap) {
  call c;
  const auto with = [](kv_strides k, kv_strides v) { return contiguous_layout(2, 8, k, 64, v, 48); };
  c.refuses(with({0, 4}, {6, 3}), errc::overlap, "k_strides", 0);
  c.refuses(with({8, 0}, {6, 3}), errc::overlap, "k_strides", 8);
  c.refuses(with({8, 3}, {6, 3}), errc::overlap, "k_strides", 8);
  c.refuses(with({4, 8}, {6, 3}), errc::overlap, "k_strides", 4);  // token 2 of head 0 is token 0 of head 1
  c.refuses(with({5, 9}, {6, 3}), errc::overlap, "k_strides", 5);  // one element in common
  c.refuses(with({8, 4}, {2, 3}), errc::overlap, "v_strides", 2);
  EXPECT_TRUE(c.run(with({9, 4}, {3, 24})).ok());
  c.range = {0, 0, 3};
  EXPECT_TRUE(c.run(contiguous_layout(2, 2, {4, 8}, 64, {6, 3}, 48)).code == errc::out_of_range);
  c.range = {0, 0, 2};
  EXPECT_TRUE(c.run(contiguous_layout(2, 2, {4, 8}, 64, {6, 3}, 48)).ok());  // head-major of two tokens
}

// Brute force: mark every element of every row.
TEST(AppendRefuses, ExactlyTheStridesWhoseRowsMeet) {
  for (std::int64_t heads = 1; heads <= 4; ++heads)
    for (std::int64_t tokens = 1; tokens <= 6; ++tokens)
      for (std::int64_t row = 1; row <= 3; ++row)
        for (std::int64_t token = 0; token <= 14; ++token)
          for (std::int64_t head = 0; head <= 20; ++head) {
            std::vector<int> writes(256, 0);
            for (std::int64_t t = 0; t < tokens; ++t)
              for (std::int64_t h = 0; h < heads; ++h)
                for (std::int64_t d = 0; d < row; ++d) ++writes[t * token + h * head + d];
            const bool disjoint = *std::max_element(writes.begin(), writes.end()) == 1;
            ASSERT_EQ(gqa::detail::rows_are_disjoint({token, head}, tokens, heads, row), disjoint)
                << "token " << token << " head " << head << " tokens " << tokens << " heads " << heads << " row "
                << row;
          }
}

TEST(AppendRefuses, SourcesThatOverlapWhatIsWritten) {
  // Token 2 of sequence 1 begins at element 64 + 16 of K and 48 + 12 of V.
  call c;
  c.source.k = c.k.data() + 80 + 20;
  c.refuses(errc::overlap, "source.k", call::address(c.source.k));
  c.source.k = c.k.data() + 80 - 23;  // its last element is the first one written
  c.refuses(errc::overlap, "source.k", call::address(c.source.k));
  c.source.k = c.k.data() + 80 - 24;
  EXPECT_TRUE(c.run().ok());
  c.source.k = c.k.data() + 80 + 24;
  EXPECT_TRUE(c.run().ok());
  c.source.k = c.v.data() + 60;
  c.refuses(errc::overlap, "source.k", call::address(c.source.k));
  call d;
  d.source.v = d.v.data() + 60;
  d.refuses(errc::overlap, "source.v", call::address(d.source.v));
  d.source.v = d.k.data() + 80;
  d.refuses(errc::overlap, "source.v", call::address(d.source.v));
  d.source.v = d.v.data() + 60 + 18;
  EXPECT_TRUE(d.run().ok());
}

TEST(AppendRefuses, SourcesInsideTheTilesThatAreWritten) {
  const kv_shape s{1, 2, 2};
  const auto layout = contiguous_layout::tiled(1, 32, 1, 2, 2);
  std::vector<float> k(64, -1), v(64, -2), rows(4, 3);
  const auto run = [&](const float* from) {
    return gqa::try_append(k.data(), v.data(), layout, s, {0, 17, 1}, gqa::dense_source(from, rows.data(), s));
  };
  EXPECT_EQ(run(k.data() + 32).code, errc::overlap);
  EXPECT_EQ(run(k.data() + 62).code, errc::overlap);
  EXPECT_EQ(k, std::vector<float>(64, -1));
  EXPECT_TRUE(run(k.data() + 30).ok());
}

}  // namespace
