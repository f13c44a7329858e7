// The order in which a unit reads and prefetches: every line of K and V is asked for, and few of them often.
#include <cstdint>
#include <vector>

namespace gqa_test {

// What kernels prefetch, where somebody keeps account.
struct prefetch_record {
  std::uintptr_t address;
  bool first_level;  // of cache
};
inline std::vector<prefetch_record>* prefetched = nullptr;

inline void record_prefetch(const void* p, int locality) {
  if (prefetched) prefetched->push_back({reinterpret_cast<std::uintptr_t>(p), locality == 3});
}

}  // namespace gqa_test

#define GQA_PREFETCH(address, locality) gqa_test::record_prefetch(address, locality)

#include "support/any_processor.hpp"

#include <gtest/gtest.h>

#include <string>
#include <unordered_map>

#include "support/cache_lines.hpp"
#include "support/generate.hpp"
#include "support/runner.hpp"

namespace gqa_test {
namespace {

using gqa::block_keys;
using gqa::line_bytes;
using gqa::row_group;
using gqa::detail::page_order;
using gqa::detail::prefetch_order;
using gqa::detail::processor_traits;
using gqa::detail::reading_order;
using gqa::detail::reading_pace;
using gqa::detail::row_pitch;
using gqa::detail::traits_of;
using gqa::detail::unit_shape;

constexpr std::int64_t tokens = 384;

struct walk {
  std::int64_t q_heads, kv_heads, q_len;
  cache_kind cache;
  std::int64_t dim = 64, kv_len = tokens;
};

constexpr std::int64_t lines_of_a_page = gqa::memory_page_bytes / line_bytes;

// The order in which the units of a walk read, and of how many KV heads they are.
struct walk_order {
  reading_order order;
  std::int64_t unit_heads;
};

template <class T>
walk_order order_of_walk(const walk& w, const gqa::kernel_table& table) {
  const auto size = static_cast<std::int64_t>(sizeof(T));
  const bool interleaved = w.cache.inside == order::token_major;
  const gqa::key_order keys = w.cache.inside == order::tiled ? gqa::key_order::tiles : gqa::key_order::rows;
  const std::int64_t group = w.q_heads / w.kv_heads, rows = group * w.q_len, row = w.dim * size;
  const processor_traits traits = traits_in_use(table.target);
  const gqa::detail::sequence_work cut =
      gqa::detail::cut(w.q_len, group, gqa::detail::heads_together(w.kv_heads, rows, size, keys, interleaved, traits));
  const row_pitch pitch{size, row, interleaved ? row : tokens * row, interleaved ? w.kv_heads * row : row};
  row_pitch of_keys = pitch;
  if (keys == gqa::key_order::tiles) of_keys.token = gqa::tile_tokens * row;  // from tile to tile
  const unit_shape unit{table.memory,
                        traits,
                        cut.unit_heads,
                        cut.unit_tokens * group,
                        of_keys,
                        pitch,
                        keys,
                        rows > table.unpacked_rows,
                        w.dim <= table.value_columns,
                        rows <= table.one_pass_rows};
  return {order_of(unit), cut.unit_heads};
}

// Of a walk's keys, or values, how many lines are left to the hardware. A single row may leave all, where no other
// kernel steps in for keys that are unevenly spaced or end inside a step; rows that read a tile in order, all but its
// first and the first of each memory page in it.
enum class lines_left { none, all, of_pages };

lines_left left_to_hardware(const walk& w, bool keys, const reading_order& reading) {
  const bool even = (w.cache.page_size == 0 || w.cache.page_size >= row_group) && w.dim % gqa::score_lanes == 0;
  switch ((keys ? reading.keys : reading.values).prefetch) {
    case prefetch_order::none: return keys && !even ? lines_left::none : lines_left::all;
    case prefetch_order::of_use_by_pages: return lines_left::of_pages;
    default: return lines_left::none;
  }
}

template <class T>
void expect_prefetched_once(const walk& w, gqa::isa target) {
  recipe r;
  r.spec.heads = {w.q_heads, w.kv_heads};
  r.spec.dims = {w.dim, w.dim};
  r.q_len = w.q_len;
  r.kv_len = w.kv_len;
  const problem p = generate(r, 1);
  manner m;
  m.cache = w.cache;
  m.target = target;
  const stored_cache<T, T> cache(p, m.cache, 0, 0);
  std::vector<prefetch_record> all;
  prefetched = &all;
  (void)run_as<gqa::types<float, T, T, float>>(p, p.spec, cache, m, gqa::sequential_executor{});
  prefetched = nullptr;
  constexpr gqa::element f32 = gqa::element::f32, type = gqa::element_of<T>;
  const auto [reading, unit_heads] = order_of_walk<T>(w, *gqa::kernels_for<f32, type, type, f32>(target));

  for (const bool keys : {true, false}) {
    std::unordered_map<std::uintptr_t, std::int64_t> times;
    for (const std::uintptr_t line : lines_of(cache, w.kv_heads, w.dim, keys, 0, w.kv_len)) times[line] = 0;
    std::int64_t missing = 0, asked = 0, near = 0;
    const auto first = reinterpret_cast<std::uintptr_t>(keys ? cache.k() : cache.v());
    for (const auto& [p, first_level] : all)
      if (const auto found = times.find(p - (p - first) % line_bytes); found != times.end()) {
        ++found->second;
        near += first_level;
      }
    for (const auto& [line, n] : times) {
      missing += n == 0;
      asked += n;
    }
    const auto lines = static_cast<std::int64_t>(times.size());
    const std::int64_t block = lines * block_keys / w.kv_len;  // kernels do not ask for the first one's
    const std::int64_t first_block = gqa::divide_up(block * unit_heads, w.kv_heads);  // of the first unit
    const std::string where = std::string(gqa::name(target)) + ", " + m.cache.name() + ", " +
                              std::to_string(w.q_heads) + "/" + std::to_string(w.kv_heads) + ", q_len " +
                              std::to_string(w.q_len) + ", head_dim " + std::to_string(w.dim) +
                              (keys ? ", keys" : ", values") + (sizeof(T) == 4 ? ", f32" : ", 16 bits");
    EXPECT_EQ(lines, gqa::divide_up(w.kv_len * w.kv_heads * w.dim * static_cast<std::int64_t>(sizeof(T)), line_bytes))
        << where;
    const bool several = w.q_heads / w.kv_heads * w.q_len > 1;
    const bool first_level = (keys ? reading.keys : reading.values).first_level;
    if (keys || several) {  // a single row asks for pieces of values that come at once, too
      EXPECT_EQ(near, first_level ? asked : 0) << where << ": into the first level";
    }
    const std::int64_t first_tokens = keys ? reading.first_keys : reading.first_values;
    for (const std::uintptr_t line : lines_of(cache, keys ? w.kv_heads : 1, w.dim, keys, 0, first_tokens))
      EXPECT_GT(times[line], 0) << where << ": of the first tokens, as soon as a walk starts";
    const lines_left left = left_to_hardware(w, keys, reading);
    if (left == lines_left::all) {
      EXPECT_LE(asked, lines / lines_of_a_page + 1) << where << ": one of each memory page, at most";
      continue;
    }
    if (left == lines_left::of_pages) {
      const std::int64_t pages = lines / lines_of_a_page + 1,
                         tiles = w.kv_heads * gqa::divide_up(w.kv_len, gqa::tile_tokens);
      const std::int64_t of_blocks =
          w.kv_heads * block_keys / gqa::tile_tokens;  // the first, and what repeats at the end
      EXPECT_GE(lines - missing, tiles - of_blocks) << where << ": where each tile begins";
      EXPECT_LE(asked, pages + tiles + of_blocks) << where << ": and each memory page";
      continue;
    }
    // A visit asks for as many rows as it reads: one that ends early not for all of the next unit's first block.
    const std::int64_t last = std::min(w.kv_len & -w.kv_len, block_keys);  // the longest even visit of the last block
    const std::int64_t rest = block_keys - last, units = w.kv_heads / unit_heads;
    EXPECT_LE(missing, first_block + (units - 1) * first_block * rest / block_keys) << where;
    // A single row asks for pieces of values early and late; 8 elements of 16 bits, or the last ones of an uneven row,
    // are a part of a line.
    const bool whole_lines = sizeof(T) == 4 && w.dim % 16 == 0;
    const std::int64_t of_first = first_tokens * w.kv_heads * gqa::divide_up(w.dim * sizeof(T), line_bytes);
    EXPECT_LE(asked, (whole_lines ? 3 : 4) * lines + block + of_first) << where;
  }
}

template <class T>
void expect_prefetched_in_every_layout() {
  std::vector<cache_kind> caches = {{order::token_major}, {order::head_major}, {order::tiled}};
  for (const std::int64_t page_size : {1, 8, 16, 64}) caches.push_back({order::token_major, page_size});
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    for (const auto* of : {&zen4, &xeon}) {
      processor = of;
      for (const cache_kind& cache : caches)
        for (const std::int64_t kv_heads : {1, 2, 3, 8})
          for (const std::int64_t group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 32})
            expect_prefetched_once<T>({kv_heads * group, kv_heads, 1, cache}, target);
      expect_prefetched_once<T>({32, 8, 12, {}}, target);
      expect_prefetched_once<T>({8, 8, 100, {}}, target);
      for (const std::int64_t rows : {47, 63}) expect_prefetched_once<T>({rows, 1, 1, {}}, target);  // many tiles
      for (const order inside : {order::head_major, order::tiled})  // a last block that ends early
        for (const std::int64_t kv_len : {272, 288, 304, 360})
          for (const std::int64_t group : {1, 2, 4, 8, 16, 32})
            // Whole tiles; and an uneven block of keys is not left to the hardware, as a single row's others are.
            if (kv_len % gqa::tile_tokens == 0 || (group > 1 && inside != order::tiled))
              expect_prefetched_once<T>({4 * group, 4, 1, {inside}, 64, kv_len}, target);
      for (const std::int64_t kv_heads : {1, 4})  // a row of no whole lines, nor of whole steps of a dot product
        for (const std::int64_t group : {1, 2, 4, 8, 12, 32})
          for (const order inside : {order::token_major, order::tiled})
            expect_prefetched_once<T>({kv_heads * group, kv_heads, 1, {inside}, 100}, target);
    }
    processor = nullptr;
  }
}

TEST(ReadingOrder, EveryLineIsPrefetched) {
  expect_prefetched_in_every_layout<float>();
  expect_prefetched_in_every_layout<gqa::bf16>();
}

// A machine as the rules see it: of every kind, whatever this one is.
struct machine {
  gqa::memory_traits memory;
  processor_traits processor;
};
constexpr machine of_zen3{{.largest_token = 8 * 1024, .beside_rows = 1}, traits_of(zen3, gqa::isa::avx2)};
constexpr machine of_zen4{{.largest_token = 32 * 1024, .beside_rows = 4}, traits_of(zen4, gqa::isa::avx512)};
constexpr machine of_xeon{{.largest_token = 32 * 1024, .beside_rows = 4}, traits_of(xeon, gqa::isa::avx512)};

// Rows of `bytes` each, of all heads of a token and then of the next.
unit_shape interleaved(std::int64_t heads, std::int64_t rows, std::int64_t element, std::int64_t bytes,
                       const machine& on = of_zen3) {
  const row_pitch pitch{element, bytes, bytes, heads * bytes};
  return {on.memory, on.processor, heads, rows, pitch, pitch};
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
  for (const machine& on : {of_zen3, of_zen4, of_xeon})
    for (const std::int64_t heads : {2, 3, 4, 8, 32})
      for (const std::int64_t element : {2, 4})
        for (const std::int64_t rows : {1, 2, 3, 4, 5, 7, 8, 16, 32})
          for (const std::int64_t bytes : {128, 320, 512, 1024, 2048}) {
            const reading_order order = order_of(interleaved(heads, rows, element, bytes, on));
            // The next tokens find room beside these.
            const bool room = heads * bytes <= on.memory.largest_token && (rows > 1 || on.processor.asks_for_heads);
            const bool pays = on.processor.memory_order && room;
            const std::int64_t largest = gqa::memory_page_bytes / (rows > element ? 1 : 2);
            const bool by_parts =
                on.processor.by_parts && rows <= 4 * element && heads * bytes <= largest && bytes >= 4 * line_bytes;
            EXPECT_EQ(order.keys.follows_memory(), pays || by_parts);
            EXPECT_EQ(order.values.follows_memory(),
                      (pays && rows > on.memory.beside_rows && rows <= element) || by_parts);
            for (const reading_pace& pace : {order.keys, order.values}) {
              if (!pace.follows_memory()) continue;
              const std::vector<int> once(static_cast<std::size_t>(pace.step * heads * bytes / line_bytes), 1);
              EXPECT_EQ(next_of_memory(pace, heads), once) << heads << " heads, " << rows << " rows of " << bytes;
            }
          }
}

TEST(ReadingOrder, ASingleRowIsPrefetchedWhereThatPays) {
  const reading_order alone = order_of(interleaved(8, 1, 4, 512, of_zen3));
  EXPECT_EQ(alone.keys.prefetch, prefetch_order::none);
  EXPECT_EQ(alone.values.prefetch, prefetch_order::none);
  EXPECT_EQ(order_of(interleaved(8, 1, 2, 256, of_zen3)).keys.prefetch, prefetch_order::none) << "16 bits as well";
  for (const machine& on : {of_zen4, of_xeon}) {
    const reading_order all = order_of(interleaved(8, 1, 4, 512, on));
    EXPECT_EQ(all.keys.prefetch,
              on.processor.memory_order ? prefetch_order::of_memory_by_parts : prefetch_order::of_use);
    EXPECT_EQ(all.values.prefetch, prefetch_order::of_use);
  }
}

TEST(ReadingOrder, AProcessorThatLikesTheOrderOfUsePrefetchesIntoTheFirstLevelWhereReadingBinds) {
  constexpr machine xeon_avx2{of_zen3.memory, traits_of(xeon, gqa::isa::avx2)};
  for (const std::int64_t heads : {1, 2, 8, 32})
    for (const std::int64_t element : {2, 4})
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 8}) {
        const auto order = [&](const machine& on) {
          return order_of(interleaved(heads, rows, element, 128 * element, on));
        };
        for (const machine& on : {of_zen3, of_zen4}) {
          EXPECT_FALSE(order(on).keys.first_level);
          EXPECT_FALSE(order(on).values.first_level);
        }
        EXPECT_EQ(order(of_xeon).keys.first_level, rows <= element) << heads << " heads, " << rows;
        EXPECT_EQ(order(of_xeon).values.first_level, rows <= element) << heads << " heads, " << rows;
        EXPECT_EQ(order(xeon_avx2).keys.first_level, rows == 1) << heads << " heads, " << rows;
        EXPECT_EQ(order(xeon_avx2).values.first_level, rows == 1) << heads << " heads, " << rows;
        EXPECT_FALSE(order(of_xeon).in_turn);
      }
  EXPECT_TRUE(order_of(interleaved(8, 1, 4, 1024, of_xeon)).keys.first_level) << "two visits of 8 KiB";
  EXPECT_FALSE(order_of(interleaved(8, 1, 4, 2048, of_xeon)).keys.first_level) << "which leave it no room";
}

TEST(ReadingOrder, ASingleRowOfOneHeadIsLeftToHardwareThatFollowsIt) {
  const auto order = [](const machine& on, std::int64_t element) {
    unit_shape u = interleaved(1, 1, element, 128 * element, on);
    u.values_in_one_pass = true;
    return order_of(u);
  };
  for (const machine& on : {of_zen3, of_zen4}) {
    EXPECT_EQ(order(on, 4).keys.prefetch, prefetch_order::none);
    EXPECT_EQ(order(on, 2).keys.prefetch, prefetch_order::of_use);
    for (const std::int64_t element : {2, 4}) EXPECT_EQ(order(on, element).values.prefetch, prefetch_order::none);
  }
  for (const std::int64_t element : {2, 4}) {
    EXPECT_EQ(order(of_xeon, element).keys.prefetch, prefetch_order::of_memory_by_parts);
    EXPECT_EQ(order(of_xeon, element).values.prefetch, prefetch_order::of_memory_by_parts);
  }
}

TEST(ReadingOrder, FewRowsPrefetchWhatComesNextInPartsWhereThatPays) {
  // One of several heads, each far from the next, as it is alone.
  const auto one_head = [](std::int64_t rows, std::int64_t bytes, const machine& on) {
    unit_shape u = interleaved(1, rows, 4, bytes, on);
    u.k.head = u.v.head = tokens * bytes;
    return u;
  };
  for (const std::int64_t rows : {1, 4, 8, 16, 17})
    for (const std::int64_t bytes : {128, 320, 512, 2048}) {
      const reading_order order = order_of(one_head(rows, bytes, of_xeon));
      for (const reading_pace& pace : {order.keys, order.values}) {
        EXPECT_EQ(pace.prefetch == prefetch_order::of_memory_by_parts, rows <= 16);
        if (rows > 16) continue;
        EXPECT_EQ(pace.step, block_keys);
        EXPECT_EQ(next_of_memory(pace, 1),
                  std::vector<int>(static_cast<std::size_t>(block_keys * bytes / line_bytes), 1));
        EXPECT_EQ(pace.next_of_memory(0, 1, nullptr).spread * line_bytes, gqa::memory_page_bytes) << "a page a part";
      }
      for (const machine& on : {of_zen3, of_zen4})
        EXPECT_FALSE(order_of(one_head(rows, bytes, on)).keys.follows_memory());
    }
  EXPECT_EQ(order_of(one_head(1, 80, of_xeon)).keys.prefetch, prefetch_order::of_use) << "a row of no whole lines";
  unit_shape apart = one_head(1, 512, of_xeon);
  apart.v.token = 1024;
  EXPECT_EQ(order_of(apart).values.prefetch, prefetch_order::of_use) << "rows that lie apart";

  for (const auto& [heads, step] : {std::pair<std::int64_t, std::int64_t>{2, 32}, {8, 32}, {16, 16}}) {
    const reading_order order = order_of(interleaved(heads, 4, 2, 256, of_xeon));
    for (const reading_pace& pace : {order.keys, order.values}) {
      EXPECT_EQ(pace.prefetch, prefetch_order::of_memory_by_parts);
      EXPECT_EQ(pace.step, step) << heads << " heads, of which 64 KiB come next";
    }
  }
  for (const std::int64_t heads : {2, 8, 16})  // reading binds
    EXPECT_EQ(order_of(interleaved(heads, 2, 2, 256, of_xeon)).keys.prefetch,
              heads <= 8 ? prefetch_order::of_memory_by_parts : prefetch_order::of_use);
  EXPECT_EQ(order_of(interleaved(2, 7, 2, 128, of_xeon)).keys.prefetch, prefetch_order::of_use) << "two parts only";
  EXPECT_EQ(order_of(interleaved(32, 4, 2, 256, of_xeon)).keys.prefetch, prefetch_order::of_use) << "large tokens";

  using gqa::detail::heads_together;
  const auto together = [](std::int64_t rows, const machine& on) {
    return heads_together(8, rows, 4, gqa::key_order::rows, false, on.processor);
  };
  for (const std::int64_t rows : {2, 4}) {
    EXPECT_EQ(together(rows, of_xeon), 1) << "which are streams side by side by themselves";
    EXPECT_EQ(together(rows, of_zen4), 4);
  }
}

TEST(ReadingOrder, TilesReadInOrderAreAskedForByPagesWhereReadingBinds) {
  const auto keys = [](const machine& on, std::int64_t rows, std::int64_t element, bool in_one_pass) {
    unit_shape u = interleaved(1, rows, element, 128 * element, on);
    u.keys = gqa::key_order::tiles;
    u.k.token = gqa::tile_tokens * u.k.row;
    u.tiles_in_one_pass = in_one_pass;
    return order_of(u).keys;
  };
  for (const machine* on : {&of_zen3, &of_zen4, &of_xeon})
    for (const std::int64_t element : {2, 4})
      for (const std::int64_t rows : {1, 2, 3, 4, 5})
        for (const bool in_one_pass : {false, true}) {
          prefetch_order expected = prefetch_order::of_use;
          if (in_one_pass && on == &of_xeon) expected = prefetch_order::of_memory_by_parts;
          else if (in_one_pass && rows <= element) expected = prefetch_order::of_use_by_pages;
          EXPECT_EQ(keys(*on, rows, element, in_one_pass).prefetch, expected) << rows << " rows";
        }
  EXPECT_EQ(keys(of_zen4, 4, 4, true).visits_on, 2) << "32 KiB by 32 tokens";
  EXPECT_EQ(keys(of_zen4, 4, 4, false).visits_on, 1);
}

TEST(ReadingOrder, TilesInPartsPrefetchTheNextBlockOnce) {
  for (const std::int64_t element : {2, 4})
    for (const std::int64_t dim : {64, 128, 256}) {
      unit_shape u = interleaved(1, 4, element, dim * element, of_xeon);
      u.keys = gqa::key_order::tiles;
      u.k.token = gqa::tile_tokens * u.k.row;
      u.tiles_in_one_pass = true;
      const reading_pace pace = order_of(u).keys;
      const std::int64_t bytes = block_keys * u.k.row, of_a_line = line_bytes / (gqa::tile_tokens * element);
      std::vector<char> next(static_cast<std::size_t>(bytes));
      std::vector<int> times(static_cast<std::size_t>(bytes / line_bytes));
      const gqa::rows_ahead ahead = pace.next_tiles(next.data());
      EXPECT_EQ(ahead.spread * gqa::score_lanes, bytes) << "a part a lane";
      for (std::int64_t tile = 0; tile < pace.step / gqa::tile_tokens; ++tile)
        for (std::int64_t i = 0; i < dim / gqa::score_lanes; ++i)
          for (std::int64_t lane = 0; lane < gqa::score_lanes; ++lane) {
            const std::int64_t byte =
                ahead.base - next.data() + tile * ahead.stride + lane * ahead.spread + i * gqa::tile_tokens * element;
            ++times.at(static_cast<std::size_t>(byte / line_bytes));
          }
      EXPECT_EQ(times, std::vector<int>(times.size(), static_cast<int>(of_a_line))) << "once for each part of a line";
    }
}

TEST(ReadingOrder, MemoryPagesArePrefetchedWhereThatPays) {
  const auto pages = [](std::int64_t heads, std::int64_t rows, std::int64_t element, const machine& on) {
    return order_of(interleaved(heads, rows, element, 128 * element, on)).pages;
  };
  for (const machine& on : {of_zen3, of_zen4}) {
    EXPECT_EQ(pages(8, 1, 4, on), page_order::none) << "several translations at once by itself";
    EXPECT_EQ(pages(1, 1, 4, on), page_order::in_bursts);
    for (const std::int64_t rows : {1, 2, 5})
      for (const std::int64_t heads : {1, 8}) EXPECT_EQ(pages(heads, rows, 2, on), page_order::singly);
    for (const std::int64_t heads : {1, 8}) EXPECT_EQ(pages(heads, 4, 4, on), page_order::in_bursts) << "brief visits";
    for (const std::int64_t rows : {6, 8})
      for (const std::int64_t element : {2, 4}) EXPECT_EQ(pages(4, rows, element, on), page_order::in_bursts);
    const auto apart = [&](std::int64_t heads, std::int64_t rows) {
      return order_of(interleaved(heads, rows, 2, 256, on)).pages_apart;
    };
    EXPECT_EQ(apart(8, 4), page_order::in_bursts) << "no order to see";
    EXPECT_EQ(apart(8, 1), page_order::none);
  }
  for (const std::int64_t rows : {1, 4, 32})
    for (const std::int64_t heads : {1, 8}) EXPECT_EQ(pages(heads, rows, 2, of_xeon), page_order::none);
}

TEST(ReadingOrder, WhereReadingBindsSeveralPagesComeSideBySide) {
  const reading_order order = order_of(interleaved(8, 4, 4, 512));
  EXPECT_EQ(order.keys.prefetch, prefetch_order::of_memory_by_parts);
  EXPECT_EQ(order.keys.next_of_memory(0, 8, nullptr).spread * line_bytes, 4096);
  EXPECT_EQ(order_of(interleaved(8, 4, 2, 256)).keys.prefetch, prefetch_order::of_memory);
  EXPECT_EQ(order_of(interleaved(8, 4, 4, 80)).keys.prefetch, prefetch_order::of_memory) << "a row of no whole lines";
}

TEST(ReadingOrder, NoVisitInTheOrderOfMemoryCrossesTheEndOfARun) {
  const reading_pace pace{32, prefetch_order::of_memory_by_parts}, in_use{32, prefetch_order::of_use};
  EXPECT_EQ(pace.within(64).step, 32);
  EXPECT_EQ(pace.within(16).step, 16);
  EXPECT_EQ(pace.within(16).prefetch, pace.prefetch);
  EXPECT_EQ(pace.within(row_group).step, row_group);
  EXPECT_EQ(pace.within(4).step, 32);
  EXPECT_EQ(pace.within(4).prefetch, prefetch_order::of_use);
  EXPECT_EQ(in_use.within(8).step, 32);
}

TEST(ReadingOrder, NarrowRowsAndLongArithmeticTakeMoreTokensAVisit) {
  const auto keys = [](std::int64_t heads, std::int64_t rows, std::int64_t bytes, const machine& on = of_zen3) {
    return order_of(interleaved(heads, rows, 4, bytes, on)).keys.step;
  };
  EXPECT_EQ(keys(4, 4, 1024), row_group);
  EXPECT_EQ(keys(4, 4, 512), row_group);
  EXPECT_EQ(keys(4, 4, 256), 2 * row_group);
  EXPECT_EQ(keys(4, 4, 128), 4 * row_group);
  EXPECT_EQ(keys(4, 5, 512), block_keys / 2) << "64 KiB, of all heads";
  EXPECT_EQ(keys(8, 5, 512), 2 * row_group);
  EXPECT_EQ(keys(8, 5, 512, of_zen4), block_keys / 2) << "256 KiB, and half a block at most";
  EXPECT_EQ(keys(8, 5, 2048, of_zen4), 2 * row_group);
  EXPECT_EQ(keys(2, 5, 64), block_keys) << "a block, of narrow rows, is small enough";
  EXPECT_EQ(order_of(interleaved(4, 1, 4, 128, of_zen4)).keys.step, row_group) << "a single row";
  EXPECT_EQ(order_of(interleaved(4, 1, 4, 128, of_zen4)).values.step, row_group) << "a single row";
  EXPECT_EQ(order_of(interleaved(1, 8, 4, 512)).keys.step, 4 * row_group) << "one head: nothing to be read in order";
  const auto values = [](std::int64_t rows, std::int64_t element, std::int64_t dim = 128) {
    return order_of(interleaved(4, rows, element, dim * element)).values.step;
  };
  EXPECT_EQ(values(4, 4), 2 * row_group);
  EXPECT_EQ(values(5, 4), block_keys / 2);
  EXPECT_EQ(values(8, 4), block_keys);
  EXPECT_EQ(values(2, 2), 2 * row_group);
  EXPECT_EQ(values(3, 2), block_keys / 2);
  EXPECT_EQ(values(4, 2), block_keys);
  EXPECT_EQ(values(5, 4, 64), block_keys) << "short rows";
  EXPECT_EQ(values(3, 2, 64), block_keys);
}

TEST(ReadingOrder, FewRowsOfOneHeadReadAllKeysOfAChunkFirst) {
  EXPECT_EQ(order_of(interleaved(1, 16, 4, 512)).together, gqa::chunk_blocks);
  EXPECT_EQ(order_of(interleaved(1, 17, 4, 512)).together, 1);
  EXPECT_EQ(order_of(interleaved(2, 1, 4, 512)).together, 1);
}

TEST(ReadingOrder, RowsThatTakeLongerThanReadingAskForTheFirstTokensAtOnce) {
  const auto first_keys = [](std::int64_t heads, std::int64_t rows, std::int64_t element, std::int64_t dim) {
    return order_of(interleaved(heads, rows, element, dim * element)).first_keys;
  };
  EXPECT_EQ(first_keys(8, 8, 2, 64), 64) << "1 KiB a token, of 64";
  EXPECT_EQ(first_keys(8, 4, 2, 128), 32);
  EXPECT_EQ(first_keys(8, 8, 4, 128), 16);
  EXPECT_EQ(first_keys(8, 8, 4, 256), row_group) << "8 KiB a token: as large as may be";
  EXPECT_EQ(first_keys(16, 8, 4, 256), 0);
  EXPECT_EQ(first_keys(1, 8, 4, 64), block_keys) << "no more";
  for (const std::int64_t element : {2, 4}) {
    const reading_order bound = order_of(interleaved(8, element, element, 128 * element));
    EXPECT_EQ(bound.first_keys, 0);
    EXPECT_EQ(bound.first_values, 0);
    unit_shape u = interleaved(8, element + 1, element, 128 * element);
    EXPECT_EQ(order_of(u).first_values, order_of(u).values.step);
    u.keys = gqa::key_order::tiles;
    EXPECT_EQ(order_of(u).first_keys, 0);
    EXPECT_EQ(order_of(u).first_values, order_of(u).values.step);
  }
}

TEST(ReadingOrder, ValuesFollowMemoryWhereReadingBinds) {
  const auto values = [](std::int64_t rows, std::int64_t element, const machine& on) {
    return order_of(interleaved(8, rows, element, 128 * element, on)).values;
  };
  for (const std::int64_t rows : {2, 4}) EXPECT_EQ(values(rows, 4, of_zen3).prefetch, prefetch_order::of_memory);
  EXPECT_EQ(values(2, 2, of_zen3).prefetch, prefetch_order::of_memory);
  EXPECT_EQ(values(2, 4, of_zen4).prefetch, prefetch_order::of_use) << "pieces side by side";
  for (const machine* on : {&of_zen3, &of_zen4, &of_xeon})
    for (const std::int64_t element : {2, 4})
      for (const std::int64_t rows : {element + 1, 2 * element, 4 * element, 8 * element}) {
        if (on->processor.by_parts && rows <= 4 * element) continue;
        EXPECT_EQ(values(rows, element, *on).prefetch, prefetch_order::of_use) << rows << " rows";
        EXPECT_EQ(values(rows, element, *on).visits_on, 1) << rows << " rows have time for the next visit's";
      }
}

TEST(ReadingOrder, RowsThatLieApartArePrefetchedInTheOrderOfUse) {
  for (const machine& on : {of_zen3, of_zen4, of_xeon})
    for (const std::int64_t rows : {2, 4, 5, 8})
      for (const row_pitch& pitch :
           {row_pitch{4, 512, 512, 8192}, row_pitch{4, 512, 1024, 4096}, row_pitch{4, 512, 1 << 20, 512}}) {
        const reading_order order = order_of(unit_shape{on.memory, on.processor, 8, rows, pitch, pitch});
        EXPECT_EQ(order.keys.prefetch, prefetch_order::of_use);
        EXPECT_EQ(order.values.prefetch, prefetch_order::of_use);
        const bool long_visits = rows > 4 && !on.processor.memory_order;
        EXPECT_EQ(order.keys.step, long_visits ? block_keys / 2 : row_group);
      }
}

TEST(ReadingOrder, VisitsMoveOnThroughTheHeadsThenTheTokens) {
  reading_pace pace{row_group};
  for (const std::int64_t heads : {1, 2, 3, 8})
    for (pace.visits_on = 1; pace.visits_on <= 5; ++pace.visits_on)
      for (std::int64_t head = 0; head < heads; ++head) {
        const gqa::detail::visit next = pace.next_of_use(head, heads);
        EXPECT_LT(next.head, heads);
        EXPECT_EQ(next.token / pace.step * heads + next.head - head, pace.visits_on);
      }
  const gqa::detail::visit same = reading_pace{row_group, prefetch_order::none}.next_of_use(5, 8);
  EXPECT_EQ(same.head, 5);
  EXPECT_EQ(same.token, 0);
}

TEST(ReadingOrder, TheOrderOfUsePrefetchesAsFarOnAsTheProcessorLikes) {
  const row_pitch apart{4, 512, 1 << 20, 512};
  const auto keys = [&](std::int64_t heads, const machine& on) {
    return order_of(unit_shape{on.memory, on.processor, heads, 4, apart, apart}).keys;
  };
  EXPECT_EQ(keys(4, of_zen4).step, row_group);
  EXPECT_EQ(keys(4, of_zen4).visits_on, 8) << "32 KiB";
  EXPECT_EQ(keys(4, of_xeon).visits_on, 2);
  EXPECT_EQ(keys(1, of_zen4).step, 4 * row_group);
  EXPECT_EQ(keys(1, of_zen4).visits_on, 1) << "16 KiB";
  EXPECT_EQ(order_of(interleaved(1, 2, 4, 512, of_zen4)).values.visits_on, 2) << "16 KiB by 16 tokens";
  EXPECT_EQ(order_of(interleaved(1, 2, 4, 512, of_xeon)).values.visits_on, 1);
  EXPECT_EQ(order_of(interleaved(2, 1, 4, 16, of_zen4)).values.visits_on, 16) << "a block";
}

TEST(ReadingOrder, NothingIsPrefetchedInTheOrderOfUseMoreThanABlockAhead) {
  for (const machine& on : {of_zen3, of_zen4, of_xeon})
    for (const std::int64_t heads : {1, 2, 3, 8, 64})
      for (const std::int64_t rows : {1, 2, 4, 8, 32})
        for (const std::int64_t bytes : {2, 32, 256, 512, 1024, 4096})
          for (unit_shape u :
               {interleaved(heads, rows, bytes == 2 ? 2 : 4, bytes, on),
                unit_shape{on.memory, on.processor, heads, rows, {4, 512, 1 << 20, 512}, {4, 512, 1 << 20, 512}}})
            for (const gqa::key_order keys : {gqa::key_order::rows, gqa::key_order::tiles})
              for (const bool packed : {false, true}) {
                u.keys = keys;
                u.packed = packed;
                u.tiles_in_one_pass = !packed;
                const reading_order order = order_of(u);
                for (const reading_pace& pace : {order.keys, order.values})
                  EXPECT_LE(pace.next_of_use(heads - 1, heads).token, block_keys);
              }
}

TEST(ReadingOrder, NoProcessorChangesABit) {
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    for (const cache_kind& cache : {cache_kind{order::token_major}, cache_kind{order::head_major},
                                    cache_kind{order::tiled}, cache_kind{order::token_major, 16}})
      for (const std::int64_t kv_heads : {1, 8})
        for (const std::int64_t group : {1, 2, 4, 7}) {
          recipe r;
          r.spec.heads = {kv_heads * group, kv_heads};
          r.spec.dims = {64, 64};
          r.spec.lse = true;
          r.kv_len = tokens;
          manner m;
          m.cache = cache;
          m.target = target;
          using types = gqa::types<float, gqa::bf16, gqa::bf16, float>;
          const problem p = as_stored<float, gqa::bf16, gqa::bf16>(generate(r, 3));
          processor = &zen4;
          const auto of_amd = run<types>(p, m);
          processor = &xeon;
          EXPECT_TRUE(run<types>(p, m).same_bits(of_amd)) << m.name() << ", " << kv_heads << " x " << group;
          processor = nullptr;
        }
  }
}

}  // namespace
}  // namespace gqa_test
