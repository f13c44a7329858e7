// Prefetches one line of each memory page that a unit is about to read, long before the rows in it. A processor may
// drop a prefetch into a page it has no translation for, and where rows are read in order it waits for one translation
// after the other; this fetches them while something else is computed. The translations of eight neighbours share a
// line of the page table, so each eighth page comes first: the rest then find those lines in the cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"
#include "inputs.hpp"
#include "reading_order.hpp"
#include "work.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

template <kv_layout Layout>
class page_prefetch {
 public:
  /// The keys and values of `u` at `positions`, about order.pages at a time; none at all where that is 0.
  page_prefetch(const Layout& layout, const step_inputs& in, const unit& u, interval positions,
                const reading_order& order) noexcept
      : layout_(layout), seq_(u.seq), heads_(u.heads), next_(positions.begin),
        end_(order.pages > 0 ? positions.end : positions.begin) {
    const row_pitch &k = order.keys.pitch, &v = order.values.pitch;
    const std::int64_t k_rows = layout.order() == key_order::tiles ? tile_tokens : 1;  // tokens at one stride
    keys_ = {in.key_head(u.head), k.element, k.head, k.row * k_rows, rows_of_a_page(k.token) * k_rows};
    values_ = {in.value_head(u.head), v.element, v.head, v.row, rows_of_a_page(v.token)};
    burst_ = std::clamp(order.pages * memory_page_bytes / (heads_ * (k.row + v.row)), block_keys, 4 * chunk_tokens);
  }

  /// Everything before `position`, and more where that is not yet a burst.
  void reach(std::int64_t position) noexcept {
    if (position <= next_ || next_ >= end_) return;
    const std::int64_t last = std::min(std::max(position, next_ + burst_), end_);
    for (std::int64_t i = 0; i < pages_of_a_line; ++i) {
      for (std::int64_t t = next_ + i * keys_.tokens; t < last; t += pages_of_a_line * keys_.tokens)
        fetch(keys_, layout_.run_at(seq_, t).k);
      for (std::int64_t t = next_ + i * values_.tokens; t < last; t += pages_of_a_line * values_.tokens)
        fetch(values_, layout_.run_at(seq_, t).v);
    }
    next_ = last;
  }

 private:
  static constexpr std::int64_t pages_of_a_line = 8;

  struct rows {
    const char* base = nullptr;
    std::int64_t element = 0, head = 0, row = 0;  ///< bytes: of an element, from head to head, of a row
    std::int64_t tokens = 1;                      ///< that a page holds
  };

  static std::int64_t rows_of_a_page(std::int64_t stride) noexcept {
    return stride == 0 ? block_keys : std::clamp<std::int64_t>(memory_page_bytes / stride, 1, block_keys);
  }

  /// Inlined by force: of a function that does nothing but prefetch, a compiler may drop the calls.
  __attribute__((always_inline)) void fetch(const rows& r, std::int64_t element) const noexcept {
    const char* row = r.base + element * r.element;
    const std::int64_t heads = r.head == 0 ? heads_ : std::max<std::int64_t>(memory_page_bytes / r.head, 1);
    for (std::int64_t h = 0; h < heads_; h += heads)
      for (std::int64_t at = 0; at < r.row; at += memory_page_bytes) __builtin_prefetch(row + h * r.head + at, 0, 3);
  }

  const Layout& layout_;
  const std::int64_t seq_, heads_;
  rows keys_, values_;
  std::int64_t next_, end_;  ///< the first position not yet asked for, and the last of all
  std::int64_t burst_ = 0;   ///< tokens
};

}  // namespace detail

GQA_NAMESPACE_END
