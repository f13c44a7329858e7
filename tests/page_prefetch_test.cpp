// Each memory page of K and V is asked for once, before it is read, however pages are asked for.
#include <cstdint>
#include <vector>

namespace gqa_test {

inline std::vector<std::uintptr_t>* asked = nullptr;  // the pages, where somebody keeps account

inline void record_page(const void* p) {
  if (asked) asked->push_back(reinterpret_cast<std::uintptr_t>(p));
}

}  // namespace gqa_test

#define GQA_PREFETCH_PAGE(address) gqa_test::record_page(address)

#include "support/any_processor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>

#include "support/cache_lines.hpp"
#include "support/generate.hpp"
#include "support/runner.hpp"

namespace gqa_test {
namespace {

using gqa::block_keys;
using gqa::detail::interval;
using gqa::detail::page_order;
using gqa::detail::page_prefetch;

constexpr std::int64_t tokens = 1536;

// Where the memory pages of keys, or of values, at `positions` begin, counted from the first key or value; in the order
// of tokens.
template <class T>
std::vector<std::uintptr_t> pages_of(const stored_cache<T, T>& cache, std::int64_t heads, std::int64_t dim, bool keys,
                                     interval positions) {
  const auto first = reinterpret_cast<std::uintptr_t>(keys ? cache.k() : cache.v());
  std::vector<std::uintptr_t> pages;
  std::set<std::uintptr_t> seen;
  for (const std::uintptr_t line : lines_of(cache, heads, dim, keys, positions.begin, positions.end)) {
    const std::uintptr_t page = line - (line - first) % gqa::memory_page_bytes;
    if (seen.insert(page).second) pages.push_back(page);
  }
  return pages;
}

// Takes out of `places` those in one of the pages, and returns where the page of each begins.
std::vector<std::uintptr_t> taken_out(std::vector<std::uintptr_t>& places, const std::vector<std::uintptr_t>& pages) {
  std::vector<std::uintptr_t> taken, left;
  const std::set<std::uintptr_t> of(pages.begin(), pages.end());
  for (const std::uintptr_t place : places) {
    const auto next = of.upper_bound(place);
    const bool inside = next != of.begin() && place - *std::prev(next) < gqa::memory_page_bytes;
    if (inside) taken.push_back(*std::prev(next));
    else left.push_back(place);
  }
  places = left;
  return taken;
}

std::vector<std::uintptr_t> sorted(std::vector<std::uintptr_t> x) {
  std::sort(x.begin(), x.end());
  return x;
}

problem problem_of(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t dim) {
  recipe r;
  r.spec.heads = {q_heads, kv_heads};
  r.spec.dims = {dim, dim};
  r.q_len = 1;
  r.kv_len = tokens;
  return generate(r, 1);
}

// A walk of `heads` heads together: before a block is read, its pages have been asked for and, one by one, not many
// more, by the visits of the blocks before it; in the end each page once, and nothing else.
template <class T>
void expect_asked_in_time(std::int64_t kv_heads, std::int64_t heads, std::int64_t dim, const cache_kind& kind,
                          interval positions, page_order wanted, page_order expected) {
  const stored_cache<T, T> cache(problem_of(kv_heads, kv_heads, dim), kind, 0, 0);
  const auto size = static_cast<std::int64_t>(sizeof(T));
  cache.visit([&](const auto& layout) {
    const std::string where = kind.name() + ", " + std::to_string(heads) + " x " + std::to_string(dim) + ", from " +
                              std::to_string(positions.begin) + (size == 4 ? ", f32" : ", 16 bits");
    gqa::detail::step_inputs in;
    in.k = reinterpret_cast<const char*>(cache.k());
    in.v = reinterpret_cast<const char*>(cache.v());
    gqa::detail::reading_order order;
    const gqa::kv_strides k = layout.k_strides(), v = layout.v_strides();
    order.keys.pitch = {size, dim * size, k.head * size, k.token * size};
    order.values.pitch = {size, dim * size, v.head * size, v.token * size};
    order.keys.step = 32;
    order.pages = wanted;
    order.pages_apart = page_order::in_bursts;
    page_prefetch pages(layout, in, gqa::detail::unit{0, 0, heads, 0, 1}, order);
    const std::int64_t visits = heads * (block_keys / order.keys.step + 1);
    std::vector<std::uintptr_t> all;
    asked = &all;
    pages.start(positions);
    for (std::int64_t end = positions.begin / block_keys * block_keys + block_keys; end < positions.end + block_keys;
         end += block_keys) {
      const std::size_t before = all.size();
      pages.reach(end);
      const interval read{positions.begin, std::min(end, positions.end)};
      for (const bool keys : {true, false}) {
        std::vector<std::uintptr_t> places = all;
        const auto needed = pages_of(cache, heads, dim, keys, read);
        const auto there = taken_out(places, needed);
        EXPECT_EQ(std::set(there.begin(), there.end()).size(), needed.size()) << where << ": read up to " << end;
      }
      if (expected == page_order::singly && before != 0) {
        EXPECT_EQ(all.size(), before) << where << ": visits have asked for all before " << end;
      }
      for (std::int64_t i = 0; i < visits; ++i) pages.ask_some();
      if (expected == page_order::in_bursts) continue;
      std::vector<std::uintptr_t> places = all;
      const std::int64_t page = order.values.pitch.token < gqa::memory_page_bytes
                                    ? gqa::memory_page_bytes / order.values.pitch.token
                                    : 1;  // tokens
      const interval near{positions.begin, std::min(end + gqa::round_up(32 * page, 128) + page, positions.end)};
      for (const bool keys : {true, false}) taken_out(places, pages_of(cache, heads, dim, keys, near));
      EXPECT_TRUE(places.empty()) << where << ": none far beyond " << end;
    }
    asked = nullptr;
    for (const bool keys : {true, false}) {
      const auto there = pages_of(cache, heads, dim, keys, positions);
      const auto found = taken_out(all, there);
      EXPECT_EQ(sorted(found), sorted(there)) << where << ": each once";
      EXPECT_EQ(found == there, expected == page_order::singly) << where << ": in order, or every eighth first";
    }
    EXPECT_TRUE(all.empty()) << where << ": nothing else";
  });
}

TEST(PagePrefetch, EachMemoryPageIsAskedForOnceInTime) {
  constexpr page_order singly = page_order::singly, in_bursts = page_order::in_bursts;
  constexpr cache_kind token_major{order::token_major}, head_major{order::head_major}, tiled{order::tiled};
  for (const page_order how : {singly, in_bursts}) {
    expect_asked_in_time<gqa::bf16>(8, 8, 128, token_major, {0, tokens}, how, how);
    expect_asked_in_time<gqa::bf16>(8, 8, 128, token_major, {98, tokens - 30}, how, how);
    expect_asked_in_time<gqa::bf16>(1, 1, 128, token_major, {0, tokens}, how, how);
    expect_asked_in_time<float>(32, 32, 128, token_major, {0, tokens}, how, how);
    expect_asked_in_time<gqa::bf16>(2, 1, 128, head_major, {0, tokens}, how, how);
    expect_asked_in_time<gqa::bf16>(2, 1, 128, tiled, {0, tokens}, how, how);
    // Pages of a cache: as long as 16 memory pages, wherever in one the walk begins, or not.
    for (const std::int64_t begin : {0, 90, 98, 126})
      expect_asked_in_time<gqa::bf16>(8, 8, 128, {order::token_major, 128}, {begin, tokens}, how, how);
    expect_asked_in_time<gqa::bf16>(8, 8, 128, {order::token_major, 16}, {0, tokens}, how, in_bursts);
    expect_asked_in_time<gqa::bf16>(4, 4, 128, {order::head_major, 16}, {0, tokens}, how, in_bursts);
    expect_asked_in_time<gqa::bf16>(4, 4, 64, {order::head_major, 16}, {0, tokens}, how, in_bursts);  // half a page
  }
}

// What runs of the operator ask for: every page, or none.
template <class T>
void expect_asked_by_run(std::int64_t q_heads, std::int64_t kv_heads, const cache_kind& kind, gqa::isa target,
                         page_order how) {
  constexpr std::int64_t dim = 128;
  const problem p = problem_of(q_heads, kv_heads, dim);
  manner m;
  m.cache = kind;
  m.target = target;
  const stored_cache<T, T> cache(p, kind, 0, 0);
  std::vector<std::uintptr_t> all;
  asked = &all;
  (void)run_as<gqa::types<float, T, T, float>>(p, p.spec, cache, m, gqa::sequential_executor{});
  asked = nullptr;
  for (const bool keys : {true, false}) {
    const auto there = pages_of(cache, kv_heads, dim, keys, {0, tokens});
    const auto found = taken_out(all, there);
    const std::string where = kind.name() + ", " + std::to_string(q_heads) + "/" + std::to_string(kv_heads) +
                              (sizeof(T) == 4 ? ", f32, " : ", 16 bits, ") + gqa::name(target);
    EXPECT_EQ(sorted(found), how == page_order::none ? std::vector<std::uintptr_t>{} : sorted(there)) << where;
    EXPECT_EQ(found == there, how == page_order::singly) << where << ": in order, or every eighth first";
  }
  EXPECT_TRUE(all.empty());
}

TEST(PagePrefetch, RunsAskAsTheirReadingOrderSays) {
  constexpr cache_kind token_major{order::token_major}, tiled{order::tiled};
  processor = &zen4;
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    expect_asked_by_run<gqa::bf16>(8, 2, token_major, target, page_order::singly);
    expect_asked_by_run<gqa::bf16>(4, 1, tiled, target, page_order::singly);
    expect_asked_by_run<gqa::bf16>(8, 8, token_major, target, page_order::singly);
    expect_asked_by_run<gqa::bf16>(16, 2, token_major, target, page_order::in_bursts);
    expect_asked_by_run<float>(8, 2, token_major, target, page_order::in_bursts);
    expect_asked_by_run<float>(8, 8, token_major, target, page_order::none);
    expect_asked_by_run<gqa::bf16>(8, 8, {order::token_major, 16}, target, page_order::none);
  }
  processor = &xeon;
  expect_asked_by_run<gqa::bf16>(8, 2, token_major, gqa::all_isas[0], page_order::none);
  processor = nullptr;
}

}  // namespace
}  // namespace gqa_test
