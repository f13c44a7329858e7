// The owning contiguous cache against a list of what was appended, and what it refuses.
#include <gtest/gtest.h>

#include <gqa/kv/cache.hpp>
#include <type_traits>

#include "support/cache_model.hpp"

namespace gqa_test {
namespace {

using gqa::bf16;
using gqa::cache_order;
using gqa::errc;
using gqa::f16;
using gqa::kv_cache;
using gqa::kv_cache_spec;

constexpr cache_order orders[] = {cache_order::token_major, cache_order::head_major, cache_order::tiled};

template <class K, class V>
void contiguous_lives() {
  for (const cache_order order : orders)
    for (const auto& shape : {gqa::kv_shape{1, 8, 8}, gqa::kv_shape{3, 5, 7}}) {
      kv_cache<K, V> cache({3, 53, shape.kv_heads, shape.head_dim, shape.v_head_dim, order});
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.k()) % 64, 0u);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.v()) % 64, 0u);
      random_life<K, V, kv_cache<K, V>>(cache, shape, 7, [](const auto&) {});
    }
}

TEST(KvCache, HoldsWhatWasAppended) {
  contiguous_lives<float, float>();
  contiguous_lives<f16, f16>();
  contiguous_lives<bf16, float>();
}

TEST(KvCache, SizesAndLayouts) {
  const kv_cache<bf16, float> cache({2, 50, 4, 16, 8, cache_order::tiled});
  EXPECT_EQ(cache.sequences(), 2);
  EXPECT_EQ(cache.capacity(), 50);
  EXPECT_EQ(cache.layout().capacity(), 64);
  EXPECT_EQ(cache.bytes(), 2 * 64 * 4 * (16 * 2 + 8 * 4));
  EXPECT_EQ(cache.layout().order(), gqa::key_order::tiles);
  EXPECT_EQ(cache.view().k, cache.k());
  const kv_cache<float> rows({2, 50, 4, 16, 8});
  EXPECT_EQ(rows.bytes(), 2 * 50 * 4 * (16 + 8) * 4);
  EXPECT_EQ(rows.layout().k_strides().token, 64);
  EXPECT_EQ(kv_cache<float>({2, 50, 4, 16, 8, cache_order::head_major}).layout().k_strides().head, 50 * 16);
  EXPECT_STREQ(name(cache_order::token_major), "token_major");
  EXPECT_STREQ(name(cache_order::head_major), "head_major");
  EXPECT_STREQ(name(cache_order::tiled), "tiled");
}

TEST(KvCache, TiledCapacityIsWhatWasAskedFor) {
  kv_cache<float> cache({1, 5, 1, 2, 2, cache_order::tiled});
  const std::vector<float> rows(12, 1);
  expect_failure(cache.try_append(0, rows.data(), rows.data(), 6), errc::out_of_range, "tokens", 6);
  EXPECT_TRUE(cache.try_append(0, rows.data(), rows.data(), 5).ok());
}

TEST(KvCache, StridedSourceOfAnyType) {
  kv_cache<f16> cache({.sequences = 1, .capacity = 4, .kv_heads = 2, .head_dim = 3, .v_head_dim = 2});
  // Rows [q q k k v v] of a fused projection in bf16 and, for V, f32.
  std::vector<bf16> fused;
  for (int i = 0; i < 32; ++i) fused.push_back(gqa::from_float<bf16>(static_cast<float>(i)));
  const std::vector<float> values{100, 101, 102, 103, 104, 105, 106, 107};
  const gqa::kv_source<bf16, float> source{fused.data() + 6, values.data(), {16, 3}, {4, 2}};
  cache.append(0, source, 2);
  for (std::int64_t t = 0; t < 2; ++t)
    for (std::int64_t h = 0; h < 2; ++h) {
      for (std::int64_t d = 0; d < 3; ++d)
        EXPECT_EQ(gqa::to_float(cache.k()[t * 6 + h * 3 + d]), static_cast<float>(t * 16 + 6 + h * 3 + d));
      for (std::int64_t d = 0; d < 2; ++d)
        EXPECT_EQ(gqa::to_float(cache.v()[t * 4 + h * 2 + d]), static_cast<float>(100 + t * 4 + h * 2 + d));
    }
}

TEST(KvCache, Refusals) {
  const auto make = [](const kv_cache_spec& spec) {
    kv_cache<float> cache;
    return kv_cache<float>::make(cache, spec);
  };
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_TRUE(make({1, 4, 2, 3, 3}).ok());
  expect_failure(make({0, 4, 2, 3, 3}), errc::invalid_argument, "sequences", 0);
  expect_failure(make({1, 0, 2, 3, 3}), errc::invalid_argument, "capacity", 0);
  expect_failure(make({1, -4, 2, 3, 3}), errc::invalid_argument, "capacity", -4);
  expect_failure(make({1, 4, 0, 3, 3}), errc::invalid_argument, "kv_heads", 0);
  expect_failure(make({1, 4, 2, 0, 3}), errc::invalid_argument, "head_dim", 0);
  expect_failure(make({1, 4, 2, 3, -1}), errc::invalid_argument, "v_head_dim", -1);
  expect_failure(make({1, 4, 2, 3, 3, static_cast<cache_order>(9)}), errc::invalid_argument, "order", 9);
  expect_failure(make({1, INT64_MAX, 2, 3, 3, cache_order::tiled}), errc::overflow, "capacity", INT64_MAX);
  for (const cache_order order : orders) EXPECT_EQ(make({huge, huge, 2, 3, 3, order}).code, errc::overflow);
  const gqa::status memory = make({1, std::int64_t{1} << 58, 1, 1, 1});
  expect_failure(memory, errc::out_of_memory, "k", std::int64_t{1} << 60);
  EXPECT_THROW(kv_cache<float>({1, 0, 2, 3, 3}), gqa::error);
}

TEST(KvCache, AFailedMakeKeepsTheCache) {
  kv_cache<float> cache({1, 4, 1, 1, 1});
  const float one = 1;
  cache.append(0, &one, &one, 1);
  EXPECT_FALSE(kv_cache<float>::make(cache, {1, 0, 1, 1, 1}).ok());
  EXPECT_EQ(cache.length(0), 1);
  EXPECT_EQ(cache.k()[0], 1.0f);
}

TEST(KvCache, BadCallsChangeNothing) {
  kv_cache<float> cache({2, 4, 1, 2, 2});
  const std::vector<float> rows{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const float* none = nullptr;
  cache.append(1, rows.data(), rows.data(), 2);
  expect_failure(cache.try_append(2, rows.data(), rows.data(), 1), errc::out_of_range, "seq", 2);
  expect_failure(cache.try_append(-1, rows.data(), rows.data(), 1), errc::out_of_range, "seq", -1);
  expect_failure(cache.try_append(1, rows.data(), rows.data(), 3), errc::out_of_range, "tokens", 3);
  expect_failure(cache.try_append(1, rows.data(), rows.data(), INT64_MAX), errc::out_of_range, "tokens", INT64_MAX);
  expect_failure(cache.try_append(1, rows.data(), rows.data(), -1), errc::invalid_argument, "tokens", -1);
  expect_failure(cache.try_append(1, none, rows.data(), 1), errc::null_pointer, "source.k", 0);
  expect_failure(cache.try_append(1, rows.data(), none, 1), errc::null_pointer, "source.v", 0);
  expect_failure(cache.try_append(1, cache.k() + 12, rows.data(), 1), errc::overlap, "source.k",
                 static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(cache.k() + 12)));
  expect_failure(cache.try_truncate(1, 3), errc::out_of_range, "length", 3);
  expect_failure(cache.try_truncate(1, -1), errc::out_of_range, "length", -1);
  expect_failure(cache.try_truncate(2, 0), errc::out_of_range, "seq", 2);
  EXPECT_THROW(cache.append(1, rows.data(), rows.data(), 3), gqa::error);
  EXPECT_THROW(cache.truncate(1, 3), gqa::error);
  EXPECT_EQ(cache.length(0), 0);
  EXPECT_EQ(cache.length(1), 2);
  EXPECT_EQ(cache.length(7), 0);
  EXPECT_EQ(cache.k()[8 + 3], 4.0f);
  EXPECT_TRUE(cache.try_append(1, rows.data(), rows.data(), 0).ok());
  EXPECT_EQ(cache.length(1), 2);
}

TEST(KvCache, MovesAndIsEmptyAfterwards) {
  static_assert(!std::is_copy_constructible_v<kv_cache<float>> &&
                std::is_nothrow_move_constructible_v<kv_cache<float>>);
  kv_cache<float> a({2, 4, 1, 1, 1});
  const float one = 1;
  a.append(1, &one, &one, 1);
  kv_cache<float> b(std::move(a));
  EXPECT_EQ(b.length(1), 1);
  EXPECT_EQ(a.sequences(), 0);  // NOLINT: what a moved-from cache is
  EXPECT_EQ(a.lengths().size(), 0u);
  EXPECT_EQ(a.bytes(), 0);
  expect_failure(a.try_append(0, &one, &one, 1), errc::out_of_range, "seq", 0);
  a = std::move(b);
  EXPECT_EQ(a.length(1), 1);
  const kv_cache<float> empty;
  EXPECT_EQ(empty.sequences(), 0);
  EXPECT_EQ(empty.bytes(), 0);
}

}  // namespace
}  // namespace gqa_test
