// What an owning cache should hold, kept as a plain list of tokens per sequence, and the comparison with what it does
// hold, read through its view.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <gqa/kv/append.hpp>
#include <random>
#include <string>
#include <vector>

namespace gqa_test {

// What a cache should hold: per sequence the K and V elements of all tokens, dense and already rounded.
template <class K, class V>
struct cache_model {
  struct sequence {
    std::vector<K> k;
    std::vector<V> v;
  };
  gqa::kv_shape shape;
  std::vector<sequence> sequences;

  [[nodiscard]] std::int64_t length(std::int64_t seq) const {
    return static_cast<std::int64_t>(sequences[seq].k.size()) / (shape.kv_heads * shape.head_dim);
  }
  void append(std::int64_t seq, const std::vector<float>& k, const std::vector<float>& v) {
    for (const float x : k) sequences[seq].k.push_back(gqa::from_float<K>(x));
    for (const float x : v) sequences[seq].v.push_back(gqa::from_float<V>(x));
  }
  void truncate(std::int64_t seq, std::int64_t length) {
    sequences[seq].k.resize(length * shape.kv_heads * shape.head_dim);
    sequences[seq].v.resize(length * shape.kv_heads * shape.v_head_dim);
  }
};

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <class Cache, class K, class V>
void expect_holds(const Cache& cache, const cache_model<K, V>& m) {
  const auto view = cache.view();
  const gqa::index_view lengths = cache.lengths();
  const gqa::kv_strides ks = view.layout.k_strides(), vs = view.layout.v_strides();
  ASSERT_EQ(lengths.size(), static_cast<std::int64_t>(m.sequences.size()));
  for (std::int64_t b = 0; b < lengths.size(); ++b) {
    ASSERT_EQ(cache.length(b), m.length(b));
    ASSERT_EQ(lengths[b], m.length(b));
    for (std::int64_t t = 0; t < m.length(b); ++t) {
      const gqa::kv_run run = view.layout.run_at(b, t);
      const std::int64_t step = view.layout.order() == gqa::key_order::tiles ? 16 : 1;
      for (std::int64_t h = 0; h < m.shape.kv_heads; ++h) {
        const std::int64_t row = t * m.shape.kv_heads + h;
        for (std::int64_t d = 0; d < m.shape.head_dim; ++d)
          ASSERT_TRUE(same_bits(view.k[run.k + h * ks.head + d * step], m.sequences[b].k[row * m.shape.head_dim + d]))
              << "k of seq " << b << " t " << t << " h " << h << " d " << d;
        for (std::int64_t d = 0; d < m.shape.v_head_dim; ++d)
          ASSERT_TRUE(same_bits(view.v[run.v + h * vs.head + d], m.sequences[b].v[row * m.shape.v_head_dim + d]))
              << "v of seq " << b << " t " << t << " h " << h << " d " << d;
      }
    }
  }
}

inline std::vector<float> random_floats(std::int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

inline void expect_failure(const gqa::status& s, gqa::errc code, const std::string& argument, std::int64_t value) {
  EXPECT_EQ(s.code, code) << s.message();
  EXPECT_EQ(s.argument, argument) << s.message();
  EXPECT_EQ(s.value, value) << s.message();
}

// Appends, rollbacks and releases in random order; appends past the room must fail and change nothing.
template <class K, class V, class Cache>
void random_life(Cache& cache, const gqa::kv_shape& shape, std::uint32_t seed, void (*after_step)(const Cache&)) {
  std::mt19937 random(seed);
  cache_model<K, V> m{shape, std::vector<typename cache_model<K, V>::sequence>(cache.sequences())};
  int refused = 0;
  for (int step = 0; step < 200; ++step) {
    const std::int64_t seq = random() % cache.sequences();
    if (random() % 4 == 0) {
      const std::int64_t length = random() % (m.length(seq) + 1);
      ASSERT_TRUE(cache.try_truncate(seq, length).ok());
      m.truncate(seq, length);
    } else {
      const std::int64_t tokens = random() % 3 ? random() % 4 : random() % 24;
      const std::vector<float> k = random_floats(tokens * shape.kv_heads * shape.head_dim + 1, random);
      const std::vector<float> v = random_floats(tokens * shape.kv_heads * shape.v_head_dim + 1, random);
      const gqa::status s = cache.try_append(seq, k.data(), v.data(), tokens);
      if (s.ok()) m.append(seq, {k.begin(), k.end() - 1}, {v.begin(), v.end() - 1});
      else ++refused;
      if (!s.ok()) {
        ASSERT_TRUE(s.code == gqa::errc::out_of_range || s.code == gqa::errc::out_of_memory) << s.message();
      }
    }
    expect_holds(cache, m);
    if (testing::Test::HasFatalFailure()) return;
    after_step(cache);
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(refused, 0) << "the walk never met a full cache";
  cache.clear();
  for (std::int64_t b = 0; b < cache.sequences(); ++b) m.truncate(b, 0);
  expect_holds(cache, m);
}

}  // namespace gqa_test
