// append against a model of the cache kept element by element: after every call the whole buffers are compared, so a
// neighbour that loses a byte shows.
#include <gqa/kv/append.hpp>
#include <gqa/kv/contiguous.hpp>
#include <gqa/kv/paged.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <random>
#include <tuple>
#include <vector>

namespace {

using gqa::bf16;
using gqa::contiguous_layout;
using gqa::f16;
using gqa::key_order;
using gqa::kv_shape;
using gqa::kv_source;
using gqa::kv_strides;
using gqa::page_table_view;
using gqa::paged_layout;

// Element index of (sequence, position, head, d).
using address_map = std::function<std::int64_t(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>;

template <class T>
std::vector<T> random_elements(std::size_t n, std::mt19937& random) {
  std::vector<T> v(n);
  for (T& x : v) {  // any float in reach of f16 and beyond, its subnormals and ties among them
    const auto bits = static_cast<std::uint32_t>((96 + random() % 36) << 23 | (random() % 2 << 31) |
                                                 (random() % 1024) << 13 | (random() % 3) << 12);
    x = std::bit_cast<T>(gqa::narrow_bits<T>(bits));
  }
  return v;
}

template <class D, class S>
D rounded(S x) {
  if constexpr (std::same_as<D, S>) return x;
  else return std::bit_cast<D>(gqa::narrow_bits<D>(gqa::widen_bits<S>(std::bit_cast<gqa::bits_t<S>>(x))));
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

constexpr std::int64_t margin = 64;  // elements before and behind a cache that nothing may touch

template <class Types>
class Append : public testing::Test {
 protected:
  using K = std::tuple_element_t<0, Types>;
  using V = std::tuple_element_t<1, Types>;
  using SK = std::tuple_element_t<2, Types>;
  using SV = std::tuple_element_t<3, Types>;

  // Appends pieces of random sizes to all sequences in turn until they are full.
  template <class Layout>
  void fill(const Layout& layout, const kv_shape& s, const address_map& k_at, const address_map& v_at) {
    const std::int64_t heads = s.kv_heads;
    std::vector<K> k = random_elements<K>(layout.k_extent(heads, s.head_dim).value + 2 * margin, random_);
    std::vector<V> v = random_elements<V>(layout.v_extent(heads, s.v_head_dim).value + 2 * margin, random_);
    std::vector<K> k_model = k;
    std::vector<V> v_model = v;
    std::vector<std::int64_t> next;
    for (std::int64_t b = 0; b < layout.sequences(); ++b) next.push_back(layout.first_position(b));
    for (bool open = true; open;) {
      open = false;
      for (std::int64_t b = 0; b < layout.sequences(); ++b) {
        const std::int64_t room = layout.end_position(b) - next[b];
        const std::int64_t tokens = std::min<std::int64_t>(room, static_cast<std::int64_t>(random_() % 21));
        open = open || room > tokens;
        // Sources: dense, head-major, rows of something wider, one token repeated.
        kv_strides ks, vs;
        switch (random_() % 4) {
          case 0: ks = {heads * s.head_dim, s.head_dim}, vs = {heads * s.v_head_dim, s.v_head_dim}; break;
          case 1: ks = {s.head_dim, 30 * s.head_dim}, vs = {s.v_head_dim, 30 * s.v_head_dim}; break;
          case 2: ks = {heads * s.head_dim + 3, s.head_dim}, vs = {heads * (s.v_head_dim + 2), s.v_head_dim + 1}; break;
          default: ks = {0, s.head_dim}, vs = {0, 0}; break;
        }
        const std::vector<SK> k_src = random_elements<SK>(30 * heads * (s.head_dim + 3), random_);
        const std::vector<SV> v_src = random_elements<SV>(30 * heads * (s.v_head_dim + 3), random_);
        const kv_source<SK, SV> source{k_src.data(), v_src.data(), ks, vs};
        const gqa::status status =
            gqa::try_append(k.data() + margin, v.data() + margin, layout, s, {b, next[b], tokens}, source);
        ASSERT_TRUE(status.ok()) << status.message();
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t h = 0; h < heads; ++h) {
            for (std::int64_t d = 0; d < s.head_dim; ++d)
              k_model[margin + k_at(b, next[b] + t, h, d)] = rounded<K>(k_src[t * ks.token + h * ks.head + d]);
            for (std::int64_t d = 0; d < s.v_head_dim; ++d)
              v_model[margin + v_at(b, next[b] + t, h, d)] = rounded<V>(v_src[t * vs.token + h * vs.head + d]);
          }
        ASSERT_TRUE(same_bytes(k, k_model)) << "K differs after " << tokens << " tokens at " << next[b];
        ASSERT_TRUE(same_bytes(v, v_model)) << "V differs after " << tokens << " tokens at " << next[b];
        next[b] += tokens;
      }
    }
  }

  std::mt19937 random_{20260117};
};

using type_cases = testing::Types<std::tuple<float, float, float, float>, std::tuple<f16, f16, float, float>,
                                  std::tuple<bf16, bf16, float, float>, std::tuple<f16, bf16, f16, bf16>,
                                  std::tuple<float, f16, bf16, f16>, std::tuple<bf16, f16, f16, bf16>,
                                  std::tuple<f16, float, bf16, f16>>;
TYPED_TEST_SUITE(Append, type_cases);

const kv_shape shapes[] = {{1, 1, 1}, {1, 8, 5}, {3, 4, 6}, {2, 19, 19}};

TYPED_TEST(Append, ContiguousRows) {
  const std::int64_t n = 37;
  for (const kv_shape& s : shapes) {
    const auto token_major = [&](std::int64_t dim) {
      return [&s, dim](auto b, auto t, auto h, auto d) { return ((b * n + t) * s.kv_heads + h) * dim + d; };
    };
    const auto head_major = [&](std::int64_t dim) {
      return [&s, dim](auto b, auto t, auto h, auto d) { return ((b * s.kv_heads + h) * n + t) * dim + d; };
    };
    this->fill(contiguous_layout::token_major(2, n, s.kv_heads, s.head_dim, s.v_head_dim), s, token_major(s.head_dim),
               token_major(s.v_head_dim));
    this->fill(contiguous_layout::head_major(2, n, s.kv_heads, s.head_dim, s.v_head_dim), s, head_major(s.head_dim),
               head_major(s.v_head_dim));
  }
}

TYPED_TEST(Append, ContiguousTiles) {
  const std::int64_t n = 48;
  for (const kv_shape& s : shapes)
    this->fill(
        contiguous_layout::tiled(2, n, s.kv_heads, s.head_dim, s.v_head_dim), s,
        [&](auto b, auto t, auto h, auto d) {
          return (((b * s.kv_heads + h) * (n / 16) + t / 16) * s.head_dim + d) * 16 + t % 16;
        },
        [&](auto b, auto t, auto h, auto d) { return ((b * s.kv_heads + h) * n + t) * s.v_head_dim + d; });
}

TYPED_TEST(Append, AnyStridesAndFirstPositions) {
  const kv_shape s{2, 4, 3};
  const std::vector<std::int64_t> first{32, 0, 1000};
  // Rows of 20 elements: two keys of 4 with a gap, then two values of 3 (V counted from its own buffer); heads and
  // tokens swapped for V, whose tokens lie between its heads.
  const contiguous_layout layout(3, 21, {20, 6}, 450, {6, 3}, 200, key_order::rows, first);
  this->fill(
      layout, s, [&](auto b, auto t, auto h, auto d) { return b * 450 + (t - first[b]) * 20 + h * 6 + d; },
      [&](auto b, auto t, auto h, auto d) { return b * 200 + (t - first[b]) * 6 + h * 3 + d; });
}

TYPED_TEST(Append, PagedRows) {
  const std::vector<std::int32_t> ids{4, 0, 6, 2, 9, 5, 1, 7, 3, 8};
  const std::vector<std::int32_t> indptr{0, 4, 4, 9};
  const page_table_view padded = page_table_view::padded(ids.data(), 2, 5), csr = page_table_view::csr(ids, indptr);
  for (const kv_shape& s : shapes)
    for (const std::int64_t size : {1, 7, 16}) {
      const auto page = [&](const page_table_view& table, std::int64_t b, std::int64_t t) {
        return std::int64_t{ids[(table.indptr ? indptr[b] : b * 5) + t / size]};
      };
      for (const page_table_view& table : {padded, csr}) {
        const auto token_major = [&](std::int64_t dim) {
          return [&, dim](auto b, auto t, auto h, auto d) {
            return ((page(table, b, t) * size + t % size) * s.kv_heads + h) * dim + d;
          };
        };
        const auto head_major = [&](std::int64_t dim) {
          return [&, dim](auto b, auto t, auto h, auto d) {
            return ((page(table, b, t) * s.kv_heads + h) * size + t % size) * dim + d;
          };
        };
        this->fill(paged_layout::token_major(table, 10, size, s.kv_heads, s.head_dim, s.v_head_dim), s,
                   token_major(s.head_dim), token_major(s.v_head_dim));
        this->fill(paged_layout::head_major(table, 10, size, s.kv_heads, s.head_dim, s.v_head_dim), s,
                   head_major(s.head_dim), head_major(s.v_head_dim));
      }
    }
}

TYPED_TEST(Append, PagedTiles) {
  const std::vector<std::int32_t> ids{4, 0, 2, 3};
  for (const kv_shape& s : shapes)
    for (const std::int64_t size : {16, 32}) {
      const auto page = [&](std::int64_t b, std::int64_t t) { return std::int64_t{ids[b * 2 + t / size]}; };
      this->fill(
          paged_layout::tiled(page_table_view::padded(ids.data(), 2, 2), 5, size, s.kv_heads, s.head_dim, s.v_head_dim),
          s,
          [&](auto b, auto t, auto h, auto d) {
            return (((page(b, t) * s.kv_heads + h) * (size / 16) + t % size / 16) * s.head_dim + d) * 16 + t % 16;
          },
          [&](auto b, auto t, auto h, auto d) {
            return ((page(b, t) * s.kv_heads + h) * size + t % size) * s.v_head_dim + d;
          });
    }
}

TEST(AppendSemantics, RoundsToNearestEvenAndOverflowsToInf) {
  const std::vector<float> values{65519.0f, 65520.0f, -1e9f, 1.00048828125f, 1.00146484375f, 2.9802322387695312e-8f};
  std::vector<f16> k(6), v(6);
  const auto layout = contiguous_layout::token_major(1, 1, 1, 6, 6);
  const kv_shape s{1, 6, 6};
  ASSERT_TRUE(
      gqa::try_append(k.data(), v.data(), layout, s, {0, 0, 1}, gqa::dense_source(values.data(), values.data(), s))
          .ok());
  const std::vector<std::uint16_t> want{0x7bff, 0x7c00, 0xfc00, 0x3c00, 0x3c02, 0x0000};
  EXPECT_EQ(std::memcmp(k.data(), want.data(), 12), 0);
  EXPECT_EQ(std::memcmp(v.data(), want.data(), 12), 0);
}

TEST(AppendSemantics, LatentCacheWhoseValuesLieInsideTheKeys) {
  const kv_shape s{1, 6, 4};
  const contiguous_layout layout(1, 3, {6, 6}, 18, {6, 6}, 18);
  std::vector<float> cache(18, -1), rows{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const kv_source<float> source{rows.data(), rows.data(), {6, 6}, {6, 6}};
  ASSERT_TRUE(gqa::try_append(cache.data(), cache.data(), layout, s, {0, 1, 2}, source).ok());
  EXPECT_EQ(cache, (std::vector<float>{-1, -1, -1, -1, -1, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
}

TEST(AppendSemantics, NoTokensWriteNothing) {
  const kv_shape s{1, 4, 4};
  const auto layout = contiguous_layout::token_major(1, 4, 1, 4, 4);
  float* none = nullptr;
  EXPECT_TRUE(gqa::try_append(none, none, layout, s, {0, 4, 0}, kv_source<float>{}).ok());
}

}  // namespace
