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
#include <set>
#include <string>

#include "support/generate.hpp"
#include "support/runner.hpp"

namespace gqa_test {
namespace {

using gqa::detail::page_order;

constexpr std::int64_t tokens = 1536;

// Which memory page a place is in, counted from the first key or value.
std::int64_t page_of(std::uintptr_t p, const void* first) {
  return static_cast<std::int64_t>(p - reinterpret_cast<std::uintptr_t>(first)) / gqa::memory_page_bytes;
}

// The pages of keys, or of values.
template <class T>
std::set<std::int64_t> pages_of(const stored_cache<T, T>& cache, std::int64_t heads, std::int64_t dim, bool keys) {
  std::set<std::int64_t> pages;
  cache.visit([&](const auto& layout) {
    const std::int64_t together = keys && layout.order() == gqa::key_order::tiles ? gqa::tile_tokens : 1;
    const std::int64_t head = keys ? layout.k_strides().head : layout.v_strides().head;
    for (std::int64_t token = 0; token < tokens; token += together)
      for (std::int64_t h = 0; h < heads; ++h) {
        const gqa::kv_run run = layout.run_at(0, token);
        const auto size = static_cast<std::int64_t>(sizeof(T));
        const std::int64_t begin = ((keys ? run.k : run.v) + h * head) * size, end = begin + together * dim * size;
        for (std::int64_t at = begin; at < end; at += gqa::line_bytes) pages.insert(at / gqa::memory_page_bytes);
      }
  });
  return pages;
}

// What is asked for of the pages of keys, or of values: each once or, where none is expected, none.
template <class T>
void expect_each_page_once(std::int64_t q_heads, std::int64_t kv_heads, const cache_kind& kind, gqa::isa target,
                           page_order how) {
  constexpr std::int64_t dim = 128;
  recipe r;
  r.spec.heads = {q_heads, kv_heads};
  r.spec.dims = {dim, dim};
  r.q_len = 1;
  r.kv_len = tokens;
  const problem p = generate(r, 1);
  manner m;
  m.cache = kind;
  m.target = target;
  const stored_cache<T, T> cache(p, kind, 0, 0);
  std::vector<std::uintptr_t> all;
  asked = &all;
  (void)run_as<gqa::types<float, T, T, float>>(p, p.spec, cache, m, gqa::sequential_executor{});
  asked = nullptr;

  const std::string where = kind.name() + ", " + std::to_string(q_heads) + "/" + std::to_string(kv_heads) +
                            (sizeof(T) == 4 ? ", f32, " : ", 16 bits, ") + gqa::name(target);
  for (const bool keys : {true, false}) {
    const void* first = keys ? static_cast<const void*>(cache.k()) : cache.v();
    const std::set<std::int64_t> pages = pages_of(cache, kv_heads, dim, keys);
    std::vector<std::int64_t> of_these;
    for (const std::uintptr_t place : all)
      if (const std::int64_t page = page_of(place, first); pages.count(page) != 0) of_these.push_back(page);
    const std::set<std::int64_t> distinct(of_these.begin(), of_these.end());
    EXPECT_EQ(of_these.size(), distinct.size()) << where << ": none twice";
    EXPECT_EQ(distinct.size(), how == page_order::none ? 0 : pages.size()) << where << ": all or none";
    if (kind.page_size != 0 || kind.inside == order::head_major) continue;
    EXPECT_EQ(std::is_sorted(of_these.begin(), of_these.end()), how != page_order::in_bursts)
        << where << ": one by one, in the order they lie; in bursts, every eighth first";
  }
}

TEST(PagePrefetch, EachMemoryPageIsAskedForOnce) {
  constexpr cache_kind token_major{order::token_major}, head_major{order::head_major}, tiled{order::tiled};
  processor = &zen4;
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    for (const std::int64_t group : {2, 4, 5}) {
      expect_each_page_once<gqa::bf16>(8 * group, 8, token_major, target, page_order::singly);
      expect_each_page_once<gqa::bf16>(4 * group, 4, head_major, target, page_order::singly);
      expect_each_page_once<gqa::bf16>(2 * group, 2, tiled, target, page_order::singly);
      expect_each_page_once<float>(2 * group, 2, tiled, target, page_order::in_bursts);
      expect_each_page_once<float>(8 * group, 8, token_major, target, page_order::in_bursts);
    }
    expect_each_page_once<gqa::bf16>(32, 32, token_major, target, page_order::singly);
    expect_each_page_once<float>(32, 32, token_major, target, page_order::none);
    expect_each_page_once<float>(4, 4, head_major, target, page_order::in_bursts);
    for (const std::int64_t kv_heads : {1, 4}) {
      expect_each_page_once<gqa::bf16>(8 * kv_heads, kv_heads, token_major, target, page_order::in_bursts);
      expect_each_page_once<float>(32, kv_heads, token_major, target, page_order::in_bursts);
    }
    for (const std::int64_t page_size : {16, 128}) {
      expect_each_page_once<gqa::bf16>(32, 8, {order::token_major, page_size}, target, page_order::singly);
      expect_each_page_once<float>(32, 8, {order::token_major, page_size}, target, page_order::in_bursts);
    }
  }
  processor = &xeon;
  expect_each_page_once<gqa::bf16>(32, 8, token_major, gqa::all_isas[0], page_order::none);
  processor = nullptr;
}

}  // namespace
}  // namespace gqa_test
