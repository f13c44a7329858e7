// The merge tree: any cut of a stream of chunks into shares merges the same states in the same order, and the merge
// itself is commutative and has its identity, to the bit, on every target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gqa/gqa.hpp>
#include <gqa/isa/detect.hpp>
#include <set>
#include <string>
#include <vector>

#include "support/property.hpp"

namespace gqa_test {
namespace {

using gqa::no_chunk;
using gqa::detail::merge_ready;
using gqa::detail::pending_states;

std::uint64_t rounds() { return number_from_environment("GQA_RANDOM_SEEDS", 20000); }

/// Ascending chunks, as sink tokens and a window leave them: some at the start, then others anywhere.
std::vector<std::int64_t> random_chunks(random_source& draw) {
  std::set<std::int64_t> chunks;
  const std::int64_t first = draw.between(0, 2) == 0 ? draw.between(0, std::int64_t{1} << 40) : draw.between(0, 70);
  const std::int64_t spread = draw.between(0, 1) ? 3 : 1;  // every chunk, or with gaps
  for (std::int64_t i = draw.between(0, 5); i-- > 0;) chunks.insert(draw.between(0, 9));
  std::int64_t c = first;
  for (std::int64_t n = draw.between(1, 80); n-- > 0; c += draw.between(1, spread)) chunks.insert(c);
  return {chunks.begin(), chunks.end()};
}

/// The order of merges as the tree defines it, in brackets: what lies under node (level, i) merges before all else.
std::string by_tree(const std::vector<std::int64_t>& chunks, int level, std::int64_t i) {
  const auto low = std::lower_bound(chunks.begin(), chunks.end(), i << level);
  const auto high = std::lower_bound(chunks.begin(), chunks.end(), (i + 1) << level);
  if (low == high) return "";
  if (high - low == 1) return std::to_string(*low);
  const std::vector<std::int64_t> inside(low, high);
  const std::string a = by_tree(inside, level - 1, 2 * i), b = by_tree(inside, level - 1, 2 * i + 1);
  return a.empty() || b.empty() ? a + b : "(" + a + " " + b + ")";
}

/// A stream of states as a share keeps it: pending ones with what they are made of.
struct stream {
  pending_states pending;
  std::vector<std::string> states;

  void merge_up_to(std::int64_t left, std::int64_t next) {
    merge_ready(pending, left, next, [&](std::int64_t into, std::int64_t from) {
      states[static_cast<std::size_t>(into)] =
          "(" + states[static_cast<std::size_t>(into)] + " " + states[static_cast<std::size_t>(from)] + ")";
      states.pop_back();
    });
  }
  void push(std::int64_t chunk, const std::string& state) {
    pending.chunk[pending.count++] = chunk;
    states.push_back(state);
  }
};

TEST(Merge, AnyCutIntoSharesMergesInTheOrderOfTheTree) {
  for (std::uint64_t seed = 1; seed <= rounds(); ++seed) {
    random_source draw(seed);
    const std::vector<std::int64_t> chunks = random_chunks(draw);
    const std::int64_t n = static_cast<std::int64_t>(chunks.size());
    stream together;
    for (std::int64_t at = 0; at < n;) {
      const std::int64_t end = std::min(n, at + draw.between(1, draw.between(1, n)));
      stream share;
      const std::int64_t left = at > 0 ? chunks[static_cast<std::size_t>(at - 1)] : no_chunk;
      for (; at < end; ++at) {
        const std::int64_t chunk = chunks[static_cast<std::size_t>(at)];
        share.merge_up_to(left, chunk);
        share.push(chunk, std::to_string(chunk));
        ASSERT_LE(share.pending.count, gqa::max_pending(chunks.back() + 1)) << "seed " << seed;
      }
      for (std::int64_t i = 0; i < share.pending.count; ++i) {
        together.merge_up_to(no_chunk, share.pending.chunk[i]);
        together.push(share.pending.chunk[i], share.states[static_cast<std::size_t>(i)]);
      }
    }
    together.merge_up_to(no_chunk, no_chunk);
    ASSERT_EQ(together.pending.count, 1);
    ASSERT_EQ(together.states[0], by_tree(chunks, 42, 0)) << "seed " << seed;
  }
}

/// Some rows of (o, m, l) as the kernels hold them.
struct rows_of_states {
  static constexpr std::int64_t rows = 5, dim = 48;
  std::vector<float> o = std::vector<float>(rows * dim), m = std::vector<float>(rows), l = std::vector<float>(rows);

  explicit rows_of_states(random_source& draw) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto at = static_cast<std::size_t>(r);
      if (draw.between(0, 5) == 0) {  // nobody saw a key: what o and l hold means nothing
        m[at] = -INFINITY;
        l[at] = NAN;
        std::fill_n(o.begin() + r * dim, dim, NAN);
        continue;
      }
      m[at] = static_cast<float>(draw.between(0, 3) == 0 ? draw.between(-150, 150) : draw.between(-2, 2));
      l[at] = static_cast<float>(0.75 + draw.uniform());
      for (std::int64_t d = 0; d < dim; ++d)
        o[static_cast<std::size_t>(r * dim + d)] = static_cast<float>(draw.normal());
    }
  }
  [[nodiscard]] gqa::state_rows view() { return {o.data(), m.data(), l.data(), dim}; }
  /// Rows that see nothing are equal whatever else they hold.
  [[nodiscard]] bool same_bits(const rows_of_states& other) const {
    if (std::memcmp(m.data(), other.m.data(), m.size() * 4) != 0) return false;
    for (std::size_t r = 0; r < rows; ++r)
      if (m[r] != -INFINITY && (std::memcmp(&l[r], &other.l[r], 4) != 0 ||
                                std::memcmp(&o[r * dim], &other.o[r * dim], dim * 4) != 0))
        return false;
    return true;
  }
};

std::vector<const gqa::kernel_table*> tables() {
  using gqa::element;
  std::vector<const gqa::kernel_table*> found;
  for (const gqa::isa target : gqa::all_isas)
    if (gqa::is_supported(target))
      found.push_back(gqa::kernels_for<element::f32, element::f32, element::f32, element::f32>(target));
  return found;
}

rows_of_states merged(const gqa::kernel_table& k, rows_of_states into, rows_of_states from) {
  k.merge(into.view(), from.view(), rows_of_states::rows, rows_of_states::dim);
  return into;
}

/// The contract's merge, written out: o_big + o_small * 2^(m_small - m_big), fused; the factor is 0 from 2^-126 down.
rows_of_states merged_by_contract(const rows_of_states& a, const rows_of_states& b) {
  rows_of_states out = a;
  for (std::size_t r = 0; r < rows_of_states::rows; ++r) {
    const bool a_is_big = a.m[r] >= b.m[r];
    const rows_of_states &big = a_is_big ? a : b, &small = a_is_big ? b : a;
    const float gap = small.m[r] - big.m[r], factor = gap > -126 ? std::ldexp(1.0f, static_cast<int>(gap)) : 0.0f;
    const bool alone = small.m[r] == -INFINITY;
    out.m[r] = big.m[r];
    out.l[r] = alone ? big.l[r] : std::fma(small.l[r], factor, big.l[r]);
    for (std::size_t at = r * rows_of_states::dim; at < (r + 1) * rows_of_states::dim; ++at)
      out.o[at] = alone ? big.o[at] : std::fma(small.o[at], factor, big.o[at]);
  }
  return out;
}

TEST(Merge, IsTheContractsCommutesAndHasAnIdentity) {
  for (std::uint64_t seed = 1; seed <= rounds() / 8; ++seed) {
    random_source draw(seed);
    const rows_of_states a(draw), b(draw);
    rows_of_states nothing(draw);
    std::fill(nothing.m.begin(), nothing.m.end(), -INFINITY);
    const rows_of_states want = merged_by_contract(a, b);
    for (const gqa::kernel_table* k : tables()) {
      ASSERT_TRUE(merged(*k, a, b).same_bits(want)) << "seed " << seed << ", " << gqa::name(k->target);
      ASSERT_TRUE(merged(*k, b, a).same_bits(want)) << "seed " << seed << ", commuted, " << gqa::name(k->target);
      ASSERT_TRUE(merged(*k, a, nothing).same_bits(a)) << "seed " << seed << ", " << gqa::name(k->target);
      ASSERT_TRUE(merged(*k, nothing, a).same_bits(a)) << "seed " << seed << ", " << gqa::name(k->target);
    }
  }
}

/// Merges of neighbours in any order that the tree allows, on any target at each step.
TEST(Merge, AnyOrderThatRespectsTheTreeGivesTheSameBits) {
  const auto all = tables();
  for (std::uint64_t seed = 1; seed <= rounds() / 20; ++seed) {
    random_source draw(seed);
    const std::vector<std::int64_t> chunks = random_chunks(draw);
    std::vector<rows_of_states> leaves;
    for (std::size_t i = 0; i < chunks.size(); ++i) leaves.emplace_back(draw);
    const auto reduce = [&](bool leftmost_first) {
      std::vector<std::int64_t> at = chunks;
      std::vector<rows_of_states> states = leaves;
      while (at.size() > 1) {
        std::vector<std::size_t> ready;
        for (std::size_t i = 0; i + 1 < at.size(); ++i) {
          const int level = gqa::join_level(at[i], at[i + 1]);
          const int before = gqa::join_level(i > 0 ? at[i - 1] : no_chunk, at[i]);
          const int after = gqa::join_level(at[i + 1], i + 2 < at.size() ? at[i + 2] : no_chunk);
          if (level < before && level < after) ready.push_back(i);
        }
        const auto any = [&](const auto& of) {
          return of[static_cast<std::size_t>(draw.between(0, static_cast<std::int64_t>(of.size()) - 1))];
        };
        const std::size_t i = leftmost_first ? ready[0] : any(ready);
        const gqa::kernel_table& k = *any(all);
        states[i] = merged(k, states[i], states[i + 1]);
        states.erase(states.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        at.erase(at.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
      return states[0];
    };
    const rows_of_states want = reduce(true);
    for (int again = 0; again < 3; ++again) ASSERT_TRUE(reduce(false).same_bits(want)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace gqa_test
