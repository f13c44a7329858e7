// Layouts against maps of addresses written down from the shapes in their documentation, element by element; and what
// their checks refuse.
#include <gqa/kv/contiguous.hpp>
#include <gqa/kv/paged.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace {

using gqa::contiguous_layout;
using gqa::errc;
using gqa::index_view;
using gqa::kv_strides;
using gqa::page_table_view;
using gqa::paged_layout;

// Element index of (sequence, position, head, d).
using address_map = std::function<std::int64_t(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>;

struct shape {
  std::int64_t heads, head_dim, v_head_dim;
};

// Row-major index into an array of the given extents.
std::int64_t at(std::initializer_list<std::pair<std::int64_t, std::int64_t>> index_and_extent) {
  std::int64_t offset = 0;
  for (const auto& [index, extent] : index_and_extent) {
    EXPECT_GE(index, 0);
    EXPECT_LT(index, extent);
    offset = offset * extent + index;
  }
  return offset;
}

// Every token that `layout` has room for, reached through runs from every possible start.
template <class Layout>
void expect_addresses(const Layout& layout, const shape& s, const address_map& k, const address_map& v,
                      std::int64_t k_elements, std::int64_t v_elements, std::int64_t longest_run) {
  ASSERT_TRUE(layout.check(s.heads, s.head_dim, s.v_head_dim).ok())
      << layout.check(s.heads, s.head_dim, s.v_head_dim).message();
  const kv_strides ks = layout.k_strides(), vs = layout.v_strides();
  const bool tiles = layout.order() == gqa::key_order::tiles;
  std::int64_t seen_run = 0, last_k = -1, last_v = -1;
  for (std::int64_t seq = 0; seq < layout.sequences(); ++seq) {
    const std::int64_t first = layout.first_position(seq), end = layout.end_position(seq);
    ASSERT_TRUE(layout.check_tokens(seq, first, end).ok()) << layout.check_tokens(seq, first, end).message();
    for (std::int64_t start = first; start < end; ++start) {
      const gqa::kv_run run = layout.run_at(seq, start);
      ASSERT_EQ(run.first, start);
      ASSERT_GE(run.count, 1);
      ASSERT_LE(start + run.count, end);
      seen_run = std::max(seen_run, run.count);
      for (std::int64_t t = start; t < start + run.count; ++t) {
        const std::int64_t slot = start % 16 + t - start;  // counted from the start of the tile that holds `start`
        const std::int64_t k_token =
            tiles ? run.k - start % 16 + slot / 16 * ks.token + slot % 16 : run.k + (t - start) * ks.token;
        for (std::int64_t h = 0; h < s.heads; ++h) {
          for (std::int64_t d = 0; d < s.head_dim; ++d) {
            const std::int64_t got = k_token + h * ks.head + d * (tiles ? 16 : 1);
            ASSERT_EQ(got, k(seq, t, h, d))
                << "seq " << seq << " t " << t << " from " << start << " h " << h << " d " << d;
            last_k = std::max(last_k, got);
          }
          for (std::int64_t d = 0; d < s.v_head_dim; ++d) {
            const std::int64_t got = run.v + (t - start) * vs.token + h * vs.head + d;
            ASSERT_EQ(got, v(seq, t, h, d))
                << "seq " << seq << " t " << t << " from " << start << " h " << h << " d " << d;
            last_v = std::max(last_v, got);
          }
        }
      }
    }
  }
  EXPECT_EQ(seen_run, longest_run);
  EXPECT_FALSE(layout.k_extent(s.heads, s.head_dim).overflowed);
  EXPECT_EQ(layout.k_extent(s.heads, s.head_dim).value, k_elements);
  EXPECT_EQ(layout.v_extent(s.heads, s.v_head_dim).value, v_elements);
  EXPECT_LT(last_k, k_elements);
  EXPECT_LT(last_v, v_elements);
}

const shape shapes[] = {{1, 1, 1}, {1, 8, 5}, {3, 4, 4}, {2, 3, 7}};

TEST(ContiguousLayout, TokenMajor) {
  for (const shape& s : shapes)
    for (const std::int64_t sequences : {1, 3})
      for (const std::int64_t capacity : {1, 16, 21}) {
        const auto map = [=](std::int64_t dim) {
          return [=](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
            return at({{b, sequences}, {t, capacity}, {h, s.heads}, {d, dim}});
          };
        };
        expect_addresses(contiguous_layout::token_major(sequences, capacity, s.heads, s.head_dim, s.v_head_dim), s,
                         map(s.head_dim), map(s.v_head_dim), sequences * capacity * s.heads * s.head_dim,
                         sequences * capacity * s.heads * s.v_head_dim, capacity);
      }
}

TEST(ContiguousLayout, HeadMajor) {
  for (const shape& s : shapes)
    for (const std::int64_t sequences : {1, 3})
      for (const std::int64_t capacity : {1, 16, 21}) {
        const auto map = [=](std::int64_t dim) {
          return [=](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
            return at({{b, sequences}, {h, s.heads}, {t, capacity}, {d, dim}});
          };
        };
        expect_addresses(contiguous_layout::head_major(sequences, capacity, s.heads, s.head_dim, s.v_head_dim), s,
                         map(s.head_dim), map(s.v_head_dim), sequences * capacity * s.heads * s.head_dim,
                         sequences * capacity * s.heads * s.v_head_dim, capacity);
      }
}

TEST(ContiguousLayout, Tiled) {
  for (const shape& s : shapes)
    for (const std::int64_t sequences : {1, 3})
      for (const std::int64_t capacity : {16, 48}) {
        const auto k = [=](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
          return at({{b, sequences}, {h, s.heads}, {t / 16, capacity / 16}, {d, s.head_dim}, {t % 16, 16}});
        };
        const auto v = [=](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
          return at({{b, sequences}, {h, s.heads}, {t, capacity}, {d, s.v_head_dim}});
        };
        expect_addresses(contiguous_layout::tiled(sequences, capacity, s.heads, s.head_dim, s.v_head_dim), s, k, v,
                         sequences * capacity * s.heads * s.head_dim, sequences * capacity * s.heads * s.v_head_dim,
                         capacity);
      }
}

TEST(ContiguousLayout, AnyStrides) {
  // K and V of a fused [sequence][token][q q k v] projection row of 40 elements, sequences 500 apart; V wider than K.
  const shape s{2, 3, 4};
  const contiguous_layout layout(2, 9, {40, 3}, 500, {40, 4}, 500);
  const auto k = [](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
    return b * 500 + t * 40 + h * 3 + d;
  };
  const auto v = [](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
    return b * 500 + t * 40 + h * 4 + d;
  };
  expect_addresses(layout, s, k, v, 500 + 8 * 40 + 3 + 3, 500 + 8 * 40 + 4 + 4, 9);
}

TEST(ContiguousLayout, StridesOfZeroBroadcast) {
  const shape s{4, 3, 3};
  const contiguous_layout layout(2, 5, {3, 0}, 0, {3, 0}, 0);
  const auto map = [](std::int64_t, std::int64_t t, std::int64_t, std::int64_t d) { return t * 3 + d; };
  expect_addresses(layout, s, map, map, 15, 15, 5);
}

TEST(ContiguousLayout, FirstPositions) {
  const shape s{2, 3, 5};
  const std::int64_t capacity = 16;
  const std::vector<std::int32_t> narrow{0, 32, 160};
  const std::vector<std::int64_t> wide{48, 0, std::int64_t{1} << 40};
  const auto check = [&](const index_view& first, const std::vector<std::int64_t>& want) {
    const auto row = [=](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d, std::int64_t dim) {
      return at({{b, 3}, {t - want[b], capacity}, {h, s.heads}, {d, dim}});
    };
    const contiguous_layout dense = contiguous_layout::token_major(3, capacity, s.heads, s.head_dim, s.v_head_dim);
    const std::int64_t k_size = capacity * s.heads * s.head_dim, v_size = capacity * s.heads * s.v_head_dim;
    const contiguous_layout rows(3, capacity, dense.k_strides(), k_size, dense.v_strides(), v_size,
                                 gqa::key_order::rows, first);
    expect_addresses(
        rows, s, [=](auto b, auto t, auto h, auto d) { return row(b, t, h, d, s.head_dim); },
        [=](auto b, auto t, auto h, auto d) { return row(b, t, h, d, s.v_head_dim); }, 3 * k_size, 3 * v_size,
        capacity);
    for (std::int64_t b = 0; b < 3; ++b) {
      EXPECT_EQ(rows.first_position(b), want[b]);
      EXPECT_EQ(rows.end_position(b), want[b] + capacity);
    }
    const contiguous_layout tiles(3, capacity, {s.head_dim * 16, s.head_dim * 16}, k_size, dense.v_strides(), v_size,
                                  gqa::key_order::tiles, first);
    expect_addresses(
        tiles, s,
        [=](auto b, auto t, auto h, auto d) {
          return at({{b, 3}, {h, s.heads}, {d, s.head_dim}, {(t - want[b]) % 16, 16}});
        },
        [=](auto b, auto t, auto h, auto d) { return row(b, t, h, d, s.v_head_dim); }, 3 * k_size, 3 * v_size,
        capacity);
  };
  check(index_view(narrow), {0, 32, 160});
  check(index_view(wide), {48, 0, std::int64_t{1} << 40});
  check(index_view(64), {64, 64, 64});
  check(index_view(), {0, 0, 0});
}

TEST(ContiguousLayout, NothingToHold) {
  EXPECT_EQ(contiguous_layout::token_major(0, 16, 2, 8, 8).k_extent(2, 8).value, 0);
  EXPECT_EQ(contiguous_layout::token_major(2, 0, 2, 8, 8).v_extent(2, 8).value, 0);
  EXPECT_TRUE(contiguous_layout::token_major(0, 16, 2, 8, 8).check(2, 8, 8).ok());
}

void expect_failure(const gqa::status& s, errc code, const std::string& argument, std::int64_t value) {
  EXPECT_EQ(s.code, code) << s.message();
  EXPECT_EQ(s.argument, argument) << s.message();
  EXPECT_EQ(s.value, value) << s.message();
  EXPECT_FALSE(std::string(s.expected).empty());
}

TEST(ContiguousLayout, Refusals) {
  const auto check = [](const contiguous_layout& l) { return l.check(2, 8, 8); };
  expect_failure(check(contiguous_layout::token_major(-1, 16, 2, 8, 8)), errc::invalid_argument, "sequences", -1);
  expect_failure(check(contiguous_layout::token_major(1, -5, 2, 8, 8)), errc::invalid_argument, "capacity", -5);
  expect_failure(check(contiguous_layout(1, 4, {-16, 8}, 64, {16, 8}, 64)), errc::invalid_argument, "k_strides", -16);
  expect_failure(check(contiguous_layout(1, 4, {16, -8}, 64, {16, 8}, 64)), errc::invalid_argument, "k_strides", -8);
  expect_failure(check(contiguous_layout(1, 4, {16, 8}, 64, {-1, 8}, 64)), errc::invalid_argument, "v_strides", -1);
  expect_failure(check(contiguous_layout(1, 4, {16, 8}, -64, {16, 8}, 64)), errc::invalid_argument, "k_batch", -64);
  expect_failure(check(contiguous_layout(1, 4, {16, 8}, 64, {16, 8}, -64)), errc::invalid_argument, "v_batch", -64);
  expect_failure(check(contiguous_layout::tiled(1, 40, 2, 8, 8)), errc::invalid_argument, "capacity", 40);
  const std::vector<std::int32_t> one{0}, negative{16, -16}, inside{0, 8};
  const auto with_first = [&](const index_view& first, gqa::key_order order) {
    return check(contiguous_layout(2, 16, {128, 128}, 256, {8, 128}, 256, order, first));
  };
  expect_failure(with_first(one, gqa::key_order::rows), errc::invalid_argument, "first_positions", 1);
  expect_failure(with_first(negative, gqa::key_order::rows), errc::out_of_range, "first_positions", -16);
  EXPECT_EQ(with_first(negative, gqa::key_order::rows).index, 1);
  expect_failure(with_first(INT64_MAX - 3, gqa::key_order::rows), errc::out_of_range, "first_positions", INT64_MAX - 3);
  EXPECT_TRUE(with_first(inside, gqa::key_order::rows).ok());
  expect_failure(with_first(inside, gqa::key_order::tiles), errc::unsupported, "first_positions", 8);
}

TEST(ContiguousLayout, SizesThatWrapAreRefused) {
  const std::int64_t big = std::int64_t{1} << 40;
  EXPECT_EQ(contiguous_layout::token_major(1, big, big, 8, 8).check(big, 8, 8).code, errc::overflow);
  EXPECT_EQ(contiguous_layout::head_major(big, big, 1, 8, 8).check(1, 8, 8).code, errc::overflow);
  EXPECT_EQ(contiguous_layout::tiled(1, big, 1, big, 8).check(1, big, 8).code, errc::overflow);
  expect_failure(contiguous_layout::token_major(1, big, 1, 8, big).check(1, 8, big), errc::overflow, "v", big);
  // Elements that fit 63 bits but whose bytes do not.
  EXPECT_EQ(contiguous_layout::token_major(1, std::int64_t{1} << 60, 1, 4, 1).check(1, 4, 1).code, errc::overflow);
  EXPECT_TRUE(contiguous_layout::token_major(1, big, 1, 8, 8).check(1, 8, 8).ok());
}

// Page ids of three sequences in no order, one page shared.
const std::vector<std::int32_t> padded_ids{4, 0, 6, /**/ 2, 2, 5, /**/ 1, 7, 3};
constexpr std::int64_t pool_pages = 8;

struct table_case {
  page_table_view view;
  std::vector<std::vector<std::int32_t>> pages;
};

std::vector<table_case> tables() {
  static const std::vector<std::int32_t> indices{5, 0, /**/ /**/ 7, 3, 1}, indptr{0, 2, 2, 5};
  table_case strided{page_table_view::padded(padded_ids.data(), 2, 2), {{4, 0}, {2, 2}}};
  strided.view.row_stride = 3;
  return {{page_table_view::padded(padded_ids.data(), 3, 3), {{4, 0, 6}, {2, 2, 5}, {1, 7, 3}}},
          {page_table_view::csr(indices, indptr), {{5, 0}, {}, {7, 3, 1}}},
          strided};
}

TEST(PagedLayout, TokenMajor) {
  for (const table_case& table : tables())
    for (const shape& s : shapes)
      for (const std::int64_t size : {1, 7, 16}) {
        const auto map = [&](std::int64_t dim) {
          return [&table, &s, size, dim](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
            return at({{table.pages[b][t / size], pool_pages}, {t % size, size}, {h, s.heads}, {d, dim}});
          };
        };
        expect_addresses(paged_layout::token_major(table.view, pool_pages, size, s.heads, s.head_dim, s.v_head_dim), s,
                         map(s.head_dim), map(s.v_head_dim), pool_pages * size * s.heads * s.head_dim,
                         pool_pages * size * s.heads * s.v_head_dim, size);
      }
}

TEST(PagedLayout, HeadMajor) {
  for (const table_case& table : tables())
    for (const shape& s : shapes)
      for (const std::int64_t size : {1, 7, 16}) {
        const auto map = [&](std::int64_t dim) {
          return [&table, &s, size, dim](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
            return at({{table.pages[b][t / size], pool_pages}, {h, s.heads}, {t % size, size}, {d, dim}});
          };
        };
        expect_addresses(paged_layout::head_major(table.view, pool_pages, size, s.heads, s.head_dim, s.v_head_dim), s,
                         map(s.head_dim), map(s.v_head_dim), pool_pages * size * s.heads * s.head_dim,
                         pool_pages * size * s.heads * s.v_head_dim, size);
      }
}

TEST(PagedLayout, Tiled) {
  for (const table_case& table : tables())
    for (const shape& s : shapes)
      for (const std::int64_t size : {16, 48}) {
        const auto k = [&](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
          const std::int64_t slot = t % size;
          return at({{table.pages[b][t / size], pool_pages},
                     {h, s.heads},
                     {slot / 16, size / 16},
                     {d, s.head_dim},
                     {slot % 16, 16}});
        };
        const auto v = [&](std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
          return at({{table.pages[b][t / size], pool_pages}, {h, s.heads}, {t % size, size}, {d, s.v_head_dim}});
        };
        expect_addresses(paged_layout::tiled(table.view, pool_pages, size, s.heads, s.head_dim, s.v_head_dim), s, k, v,
                         pool_pages * size * s.heads * s.head_dim, pool_pages * size * s.heads * s.v_head_dim, size);
      }
}

TEST(PagedLayout, AnyStridesAndSeparatePageStrides) {
  // K and V interleaved in one pool, [page][2][token][head][dim] padded to 200 elements; V counted from its own base.
  const shape s{2, 4, 4};
  const std::int64_t size = 5;
  const page_table_view table = page_table_view::padded(padded_ids.data(), 3, 3);
  const paged_layout layout(table, pool_pages, size, {8, 4}, 200, {10, 5}, 300);
  const auto page = [&](std::int64_t b, std::int64_t t) { return std::int64_t{padded_ids[b * 3 + t / size]}; };
  expect_addresses(
      layout, s, [&](auto b, auto t, auto h, auto d) { return page(b, t) * 200 + t % size * 8 + h * 4 + d; },
      [&](auto b, auto t, auto h, auto d) { return page(b, t) * 300 + t % size * 10 + h * 5 + d; },
      7 * 200 + 4 * 8 + 4 + 4, 7 * 300 + 4 * 10 + 5 + 4, size);
}

TEST(PagedLayout, Refusals) {
  const page_table_view good = page_table_view::padded(padded_ids.data(), 3, 3);
  const auto check = [](const page_table_view& t, std::int64_t pages = 8, std::int64_t size = 16) {
    return paged_layout::token_major(t, pages, size, 2, 8, 8).check(2, 8, 8);
  };
  EXPECT_TRUE(check(good).ok());
  expect_failure(check(page_table_view::padded(padded_ids.data(), -1, 3)), errc::invalid_argument,
                 "page_table.sequences", -1);
  expect_failure(check(page_table_view::padded(padded_ids.data(), 3, -3)), errc::invalid_argument, "page_table.width",
                 -3);
  expect_failure(check(page_table_view::padded(nullptr, 3, 3)), errc::null_pointer, "page_table.ids", 0);
  expect_failure(check(page_table_view{padded_ids.data(), nullptr, 3, 3, 2}), errc::invalid_argument,
                 "page_table.row_stride", 2);
  expect_failure(check(good, -1), errc::invalid_argument, "num_pages", -1);
  expect_failure(check(good, 8, 0), errc::invalid_argument, "page_size", 0);
  expect_failure(check(good, 8, -16), errc::invalid_argument, "page_size", -16);
  expect_failure(paged_layout::tiled(good, 8, 24, 2, 8, 8).check(2, 8, 8), errc::invalid_argument, "page_size", 24);
  const auto strides = [&](kv_strides k, std::int64_t k_page, kv_strides v, std::int64_t v_page) {
    return paged_layout(good, 8, 4, k, k_page, v, v_page).check(2, 8, 8);
  };
  expect_failure(strides({-16, 8}, 64, {16, 8}, 64), errc::invalid_argument, "k_strides", -16);
  expect_failure(strides({16, 8}, 64, {16, -8}, 64), errc::invalid_argument, "v_strides", -8);
  expect_failure(strides({16, 8}, -64, {16, 8}, 64), errc::invalid_argument, "k_page", -64);
  expect_failure(strides({16, 8}, 64, {16, 8}, -1), errc::invalid_argument, "v_page", -1);
}

TEST(PagedLayout, CsrOffsetsMustAscendWithinTheIndices) {
  const std::vector<std::int32_t> indices{0, 1, 2, 3};
  const auto check = [&](const std::vector<std::int32_t>& indptr) {
    return paged_layout::token_major(page_table_view::csr(indices, indptr), 8, 16, 2, 8, 8).check(2, 8, 8);
  };
  EXPECT_TRUE(check({0, 0, 4}).ok());
  EXPECT_TRUE(check({1, 2, 3}).ok());
  expect_failure(check({-1, 2, 4}), errc::out_of_range, "page_table.indptr", -1);
  expect_failure(check({0, 3, 2}), errc::out_of_range, "page_table.indptr", 2);
  EXPECT_EQ(check({0, 3, 2}).index, 2);
  expect_failure(check({0, 2, 5}), errc::out_of_range, "page_table.indptr", 5);
}

TEST(PagedLayout, OnlyPagesInUseAreLookedAt) {
  const std::vector<std::int32_t> ids{-1, 3, 8, 0};
  const paged_layout layout = paged_layout::token_major(page_table_view::padded(ids.data(), 1, 4), 8, 16, 1, 4, 4);
  EXPECT_TRUE(layout.check(1, 4, 4).ok());
  EXPECT_TRUE(layout.check_tokens(0, 16, 32).ok());
  EXPECT_TRUE(layout.check_tokens(0, 48, 64).ok());
  EXPECT_TRUE(layout.check_tokens(0, 16, 16).ok());
  expect_failure(layout.check_tokens(0, 15, 32), errc::out_of_range, "page_table", -1);
  expect_failure(layout.check_tokens(0, 16, 33), errc::out_of_range, "page_table", 8);
  EXPECT_EQ(layout.check_tokens(0, 16, 33).index, 2);
}

TEST(PagedLayout, SizesThatWrapAreRefused) {
  const page_table_view table = page_table_view::padded(padded_ids.data(), 3, 3);
  const std::int64_t big = std::int64_t{1} << 40;
  EXPECT_EQ(paged_layout::token_major(table, big, big, 1, 8, 8).check(1, 8, 8).code, errc::overflow);
  EXPECT_EQ(paged_layout::head_major(table, 8, big, big, 8, 8).check(big, 8, 8).code, errc::overflow);
  EXPECT_EQ(paged_layout::tiled(table, 8, 16, 1, INT64_MAX / 4, 8).check(1, INT64_MAX / 4, 8).code, errc::overflow);
  EXPECT_EQ(paged_layout::token_major(table, 1, 1, 1, 8, 8).end_position(0), 3);
}

}  // namespace
