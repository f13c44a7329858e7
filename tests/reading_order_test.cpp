// The order in which a unit reads and prefetches: every line of K and V is asked for, and few of them often.
#include <cstdint>
#include <vector>

namespace gqa_test {

// What kernels prefetch, where somebody keeps account.
inline std::vector<std::uintptr_t>* prefetched = nullptr;

inline void record_prefetch(const void* p) {
  if (prefetched) prefetched->push_back(reinterpret_cast<std::uintptr_t>(p));
}

}  // namespace gqa_test

#define GQA_PREFETCH(address, locality) gqa_test::record_prefetch(address)

#include <gtest/gtest.h>

#include <string>
#include <unordered_map>

#include "support/generate.hpp"
#include "support/runner.hpp"

namespace gqa_test {
namespace {

using gqa::block_keys;
using gqa::line_bytes;
using gqa::row_group;
using gqa::detail::prefetch_order;
using gqa::detail::reading_order;
using gqa::detail::reading_pace;
using gqa::detail::row_pitch;
using gqa::detail::unit_shape;
using types = gqa::types<float, float, float, float>;

struct walk {
  std::int64_t q_heads, kv_heads, q_len;
  cache_kind cache;
};

constexpr std::int64_t tokens = 384, dim = 64, row_lines = dim * 4 / line_bytes;

// Where the lines of all heads of `cache` begin: a row a token or, in tiles, as many of 16 of them.
std::vector<std::uintptr_t> lines_of(const stored_cache<float, float>& cache, const walk& w, bool keys) {
  std::vector<std::uintptr_t> lines;
  cache.visit([&](const auto& layout) {
    const std::int64_t together = keys && layout.order() == gqa::key_order::tiles ? gqa::tile_tokens : 1;
    const std::int64_t head = keys ? layout.k_strides().head : layout.v_strides().head;
    for (std::int64_t token = 0; token < tokens; token += together)
      for (std::int64_t h = 0; h < w.kv_heads; ++h)
        for (std::int64_t line = 0; line < together * row_lines; ++line) {
          const gqa::kv_run run = layout.run_at(0, token);
          const float* at = (keys ? cache.k() + run.k : cache.v() + run.v) + h * head + line * line_bytes / 4;
          lines.push_back(reinterpret_cast<std::uintptr_t>(at));
        }
  });
  return lines;
}

void expect_prefetched_once(const walk& w, gqa::isa target) {
  recipe r;
  r.spec.heads = {w.q_heads, w.kv_heads};
  r.spec.dims = {dim, dim};
  r.q_len = w.q_len;
  r.kv_len = tokens;
  const problem p = generate(r, 1);
  manner m;
  m.cache = w.cache;
  m.target = target;
  const stored_cache<float, float> cache(p, m.cache, 0, 0);
  std::vector<std::uintptr_t> all;
  prefetched = &all;
  (void)run_as<types>(p, p.spec, cache, m, gqa::sequential_executor{});
  prefetched = nullptr;

  for (const bool keys : {true, false}) {
    std::unordered_map<std::uintptr_t, std::int64_t> times;
    for (const std::uintptr_t line : lines_of(cache, w, keys)) times[line] = 0;
    std::int64_t missing = 0, asked = 0;
    const auto first = reinterpret_cast<std::uintptr_t>(keys ? cache.k() : cache.v());
    for (const std::uintptr_t p : all)
      if (const auto found = times.find(p - (p - first) % line_bytes); found != times.end()) ++found->second;
    for (const auto& [line, n] : times) {
      missing += n == 0;
      asked += n;
    }
    const auto lines = static_cast<std::int64_t>(times.size());
    const std::int64_t block = block_keys * w.kv_heads * row_lines;  // nobody asks for the first
    const std::string where = std::string(gqa::name(target)) + ", " + m.cache.name() + ", " +
                              std::to_string(w.q_heads) + "/" + std::to_string(w.kv_heads) + ", q_len " +
                              std::to_string(w.q_len) + (keys ? ", keys" : ", values");
    EXPECT_EQ(lines, tokens * w.kv_heads * row_lines) << where;
    EXPECT_LE(missing, block) << where;
    EXPECT_LE(asked, 3 * lines + block) << where;  // a single row asks for pieces of values early and late
  }
}

TEST(ReadingOrder, EveryLineIsPrefetched) {
  std::vector<cache_kind> caches = {{order::token_major}, {order::head_major}, {order::tiled}};
  for (const std::int64_t page_size : {1, 8, 16, 64}) caches.push_back({order::token_major, page_size});
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    for (const cache_kind& cache : caches)
      for (const std::int64_t kv_heads : {1, 2, 3, 8})
        for (const std::int64_t group : {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32})
          expect_prefetched_once({kv_heads * group, kv_heads, 1, cache}, target);
    expect_prefetched_once({32, 8, 12, {}}, target);
    expect_prefetched_once({8, 8, 100, {}}, target);
  }
}

// Rows of `bytes` each, of all heads of a token and then of the next.
unit_shape interleaved(std::int64_t heads, std::int64_t rows, std::int64_t element, std::int64_t bytes) {
  const row_pitch pitch{element, bytes, bytes, heads * bytes};
  return {heads, rows, pitch, pitch};
}

// How often the visits of all heads prefetch each line of the tokens that come next.
std::vector<int> next_of_memory(const reading_pace& pace, std::int64_t heads) {
  std::vector<char> next(static_cast<std::size_t>(pace.step * heads * pace.pitch.row));
  std::vector<int> times(next.size() / line_bytes);
  for (std::int64_t head = 0; head < heads; ++head) {
    const gqa::rows_ahead ahead = pace.next_of_memory(head, heads, next.data());
    EXPECT_EQ(ahead.offsets, nullptr);
    for (std::int64_t row = 0; row < pace.step; ++row)
      for (std::int64_t at = 0; at < pace.pitch.row; at += line_bytes) {
        const std::int64_t byte = ahead.base - next.data() + row * ahead.stride + ahead.spread * at;
        EXPECT_EQ(byte % line_bytes, 0);
        ++times.at(static_cast<std::size_t>(byte / line_bytes));
      }
  }
  return times;
}

TEST(ReadingOrder, RowsThatTouchArePrefetchedInTheOrderOfMemoryOnce) {
  for (const std::int64_t heads : {2, 3, 4, 8, 32})
    for (const std::int64_t element : {2, 4})
      for (const std::int64_t rows : {2, 3, 4, 7, 8, 16, 32})
        for (const std::int64_t bytes : {128, 320, 512, 1024}) {
          const reading_order order = order_of(interleaved(heads, rows, element, bytes));
          const bool near = heads * bytes <= 8192;  // the next tokens find room beside these
          EXPECT_EQ(order.keys.follows_memory(), near);
          EXPECT_EQ(order.values.follows_memory(), near && rows <= 16);
          for (const reading_pace& pace : {order.keys, order.values}) {
            if (!pace.follows_memory()) continue;
            const std::vector<int> once(static_cast<std::size_t>(pace.step * heads * bytes / line_bytes), 1);
            EXPECT_EQ(next_of_memory(pace, heads), once) << heads << " heads, " << rows << " rows of " << bytes;
          }
        }
}

TEST(ReadingOrder, WhereReadingBindsSeveralPagesComeSideBySide) {
  const reading_order order = order_of(interleaved(8, 4, 4, 512));
  EXPECT_EQ(order.keys.prefetch, prefetch_order::of_memory_by_parts);
  EXPECT_EQ(order.keys.next_of_memory(0, 8, nullptr).spread * line_bytes, 4096);
  EXPECT_EQ(order_of(interleaved(8, 4, 2, 256)).keys.prefetch, prefetch_order::of_memory);
  EXPECT_EQ(order_of(interleaved(8, 4, 4, 80)).keys.prefetch, prefetch_order::of_memory) << "a row of no whole lines";
}

TEST(ReadingOrder, RowsThatLieApartArePrefetchedInTheOrderOfUse) {
  for (const row_pitch& pitch :
       {row_pitch{4, 512, 512, 8192}, row_pitch{4, 512, 1024, 4096}, row_pitch{4, 512, 1 << 20, 512}}) {
    const reading_order order = order_of(unit_shape{8, 4, pitch, pitch});
    EXPECT_EQ(order.keys.prefetch, prefetch_order::of_use);
    EXPECT_EQ(order.values.prefetch, prefetch_order::of_use);
  }
}

TEST(ReadingOrder, VisitsMoveOnThroughTheHeadsThenTheTokens) {
  const reading_pace pace{row_group};
  for (const std::int64_t heads : {1, 2, 3, 8})
    for (std::int64_t head = 0; head < heads; ++head) {
      const gqa::detail::visit next = pace.next_of_use(head, heads);
      EXPECT_LT(next.head, heads);
      EXPECT_EQ(next.token / pace.step * heads + next.head - head, heads == 1 ? 1 : 2);
    }
  const gqa::detail::visit same = reading_pace{row_group, prefetch_order::none}.next_of_use(5, 8);
  EXPECT_EQ(same.head, 5);
  EXPECT_EQ(same.token, 0);
}

}  // namespace
}  // namespace gqa_test
