// The owning paged cache against a list of what was appended; its pages, and what it refuses.
#include <gtest/gtest.h>

#include <gqa/kv/paged_cache.hpp>
#include <set>
#include <type_traits>

#include "support/cache_model.hpp"

namespace gqa_test {
namespace {

using gqa::bf16;
using gqa::cache_order;
using gqa::errc;
using gqa::f16;
using gqa::paged_kv_cache;
using gqa::paged_kv_cache_spec;

constexpr cache_order orders[] = {cache_order::token_major, cache_order::head_major, cache_order::tiled};

// Every page is free or in exactly one row, rows are filled from the front, and as far as the length needs.
template <class Cache>
void expect_pages_consistent(const Cache& cache) {
  std::set<std::int32_t> used;
  const gqa::page_table_view table = cache.table();
  for (std::int64_t b = 0; b < cache.sequences(); ++b) {
    const std::int64_t needed = gqa::divide_up(cache.length(b), cache.spec().page_size);
    for (std::int64_t i = 0; i < table.width; ++i) {
      const std::int32_t id = table.row(b)[i];
      if (i >= needed) {
        ASSERT_EQ(id, Cache::no_page);
        continue;
      }
      ASSERT_GE(id, 0);
      ASSERT_LT(id, cache.spec().num_pages);
      ASSERT_TRUE(used.insert(id).second) << "page " << id << " twice";
    }
  }
  ASSERT_EQ(static_cast<std::int64_t>(used.size()) + cache.free_pages(), cache.spec().num_pages);
}

template <class K, class V>
void paged_lives() {
  for (const cache_order order : orders)
    for (const std::int64_t page_size : {1, 7, 16, 32}) {
      if (order == cache_order::tiled && page_size % 16 != 0) continue;  // refused: see PagedKvCache.Refusals
      const gqa::kv_shape shape{2, 5, 3};
      paged_kv_cache<K, V> cache({96 / page_size, page_size, 4, gqa::divide_up(64, page_size), 2, 5, 3, order});
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.k()) % 64, 0u);
      random_life<K, V, paged_kv_cache<K, V>>(cache, shape, 11, expect_pages_consistent);
      expect_pages_consistent(cache);
      EXPECT_EQ(cache.free_pages(), 96 / page_size);
    }
}

TEST(PagedKvCache, HoldsWhatWasAppended) {
  paged_lives<float, float>();
  paged_lives<f16, bf16>();
}

TEST(PagedKvCache, PagesComeAndGo) {
  paged_kv_cache<float> cache(
      {.num_pages = 4, .page_size = 2, .sequences = 3, .max_pages = 3, .kv_heads = 1, .head_dim = 1, .v_head_dim = 1});
  const std::vector<float> rows{1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(cache.free_pages(), 4);
  cache.append(0, rows.data(), rows.data(), 3);
  EXPECT_EQ(cache.free_pages(), 2);
  cache.append(0, rows.data(), rows.data(), 1);  // into the second page
  EXPECT_EQ(cache.free_pages(), 2);
  cache.append(1, rows.data(), rows.data(), 1);
  EXPECT_EQ(cache.free_pages(), 1);
  expect_failure(cache.try_append(2, rows.data(), rows.data(), 3), errc::out_of_memory, "tokens", 3);
  EXPECT_EQ(cache.try_append(2, rows.data(), rows.data(), 3).bound, 2);
  EXPECT_EQ(cache.free_pages(), 1);
  EXPECT_EQ(cache.length(2), 0);
  cache.truncate(0, 2);
  EXPECT_EQ(cache.free_pages(), 2);
  cache.append(2, rows.data(), rows.data(), 3);
  EXPECT_EQ(cache.free_pages(), 0);
  cache.release(1);
  EXPECT_EQ(cache.free_pages(), 1);
  EXPECT_EQ(cache.length(1), 0);
  expect_failure(cache.try_append(2, rows.data(), rows.data(), 4), errc::out_of_range, "tokens", 4);  // max_pages
  cache.clear();
  EXPECT_EQ(cache.free_pages(), 4);
  expect_pages_consistent(cache);
}

TEST(PagedKvCache, AFailedAppendTakesNothing) {
  paged_kv_cache<float> cache(
      {.num_pages = 4, .page_size = 2, .sequences = 2, .max_pages = 4, .kv_heads = 1, .head_dim = 2, .v_head_dim = 2});
  const std::vector<float> rows(32, 3.0f);
  const float* none = nullptr;
  cache.append(0, rows.data(), rows.data(), 1);
  const std::vector<float> k(cache.k(), cache.k() + 2);
  const std::vector<std::int32_t> table(cache.table().ids, cache.table().ids + 8);
  const auto unchanged = [&] {
    EXPECT_EQ(std::vector<std::int32_t>(cache.table().ids, cache.table().ids + 8), table);
    EXPECT_EQ(std::vector<float>(cache.k(), cache.k() + 2), k);
    EXPECT_EQ(cache.free_pages(), 3);
    EXPECT_EQ(cache.length(0), 1);
  };
  expect_failure(cache.try_append(0, none, rows.data(), 5), errc::null_pointer, "source.k", 0);
  unchanged();
  expect_failure(cache.try_append(1, rows.data(), none, 5), errc::null_pointer, "source.v", 0);
  unchanged();
  expect_failure(cache.try_append(1, rows.data(), rows.data(), -2), errc::invalid_argument, "tokens", -2);
  unchanged();
  expect_failure(cache.try_append(1, rows.data(), rows.data(), 7), errc::out_of_memory, "tokens", 7);
  unchanged();
  expect_failure(cache.try_append(0, rows.data(), rows.data(), INT64_MAX), errc::out_of_range, "tokens", INT64_MAX);
  unchanged();
  expect_failure(cache.try_append(2, rows.data(), rows.data(), 1), errc::out_of_range, "seq", 2);
  expect_failure(cache.try_release(-1), errc::out_of_range, "seq", -1);
  expect_failure(cache.try_truncate(0, 2), errc::out_of_range, "length", 2);
  unchanged();
  EXPECT_THROW(cache.append(0, none, rows.data(), 5), gqa::error);
  EXPECT_THROW(cache.release(2), gqa::error);
  unchanged();
}

TEST(PagedKvCache, Refusals) {
  const auto make = [](const paged_kv_cache_spec& spec) {
    paged_kv_cache<f16> cache;
    return paged_kv_cache<f16>::make(cache, spec);
  };
  const std::int64_t big = std::int64_t{1} << 31;
  EXPECT_TRUE(make({4, 16, 2, 4, 2, 3, 3, cache_order::tiled}).ok());
  expect_failure(make({0, 16, 2, 4, 2, 3, 3}), errc::invalid_argument, "num_pages", 0);
  expect_failure(make({big, 16, 2, 4, 2, 3, 3}), errc::invalid_argument, "num_pages", big);
  expect_failure(make({4, 0, 2, 4, 2, 3, 3}), errc::invalid_argument, "page_size", 0);
  expect_failure(make({4, 16, 0, 4, 2, 3, 3}), errc::invalid_argument, "sequences", 0);
  expect_failure(make({4, 16, 2, -1, 2, 3, 3}), errc::invalid_argument, "max_pages", -1);
  expect_failure(make({4, 16, 2, 4, -2, 3, 3}), errc::invalid_argument, "kv_heads", -2);
  expect_failure(make({4, 16, 2, 4, 2, 0, 3}), errc::invalid_argument, "head_dim", 0);
  expect_failure(make({4, 16, 2, 4, 2, 3, 0}), errc::invalid_argument, "v_head_dim", 0);
  expect_failure(make({4, 16, 2, 4, 2, 3, 3, static_cast<cache_order>(3)}), errc::invalid_argument, "order", 3);
  expect_failure(make({4, 24, 2, 4, 2, 3, 3, cache_order::tiled}), errc::invalid_argument, "page_size", 24);
  expect_failure(make({4, big * big, 2, 4, 2, 3, 3}), errc::overflow, "max_pages", 4);
  EXPECT_EQ(make({big - 1, big, 2, 4, 2, 3, 3}).code, errc::overflow);
  expect_failure(make({1, 1, 1, std::int64_t{1} << 58, 1, 1, 1}), errc::out_of_memory, "page_table",
                 std::int64_t{1} << 60);
  EXPECT_EQ(make({1, 1, big, big * big / 2, 1, 1, 1}).code, errc::overflow);
  EXPECT_THROW(paged_kv_cache<f16>({4, 0, 2, 4, 2, 3, 3}), gqa::error);
}

TEST(PagedKvCache, MovesAndIsEmptyAfterwards) {
  static_assert(!std::is_copy_constructible_v<paged_kv_cache<float>>);
  paged_kv_cache<float> a(
      {.num_pages = 4, .page_size = 2, .sequences = 2, .max_pages = 4, .kv_heads = 1, .head_dim = 1, .v_head_dim = 1});
  const float one = 1;
  a.append(1, &one, &one, 1);
  paged_kv_cache<float> b(std::move(a));
  EXPECT_EQ(b.length(1), 1);
  EXPECT_EQ(b.free_pages(), 3);
  EXPECT_EQ(b.bytes(), 4 * 2 * 2 * 4);
  EXPECT_EQ(a.sequences(), 0);  // NOLINT: what a moved-from cache is
  EXPECT_EQ(a.free_pages(), 0);
  expect_failure(a.try_append(0, &one, &one, 1), errc::out_of_range, "seq", 0);
}

}  // namespace
}  // namespace gqa_test
