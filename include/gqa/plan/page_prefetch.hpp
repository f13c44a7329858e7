// Prefetches one line of each memory page that a unit is about to read, long before the rows in it: a processor may
// drop a prefetch into a page it has no translation for, and where rows are read in order it waits for one translation
// after the other.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"
#include "inputs.hpp"
#include "reading_order.hpp"
#include "work.hpp"

#if !defined(GQA_PREFETCH_PAGE)  // a test counts them
#define GQA_PREFETCH_PAGE(address) __builtin_prefetch(address, 0, 3)
#endif

GQA_NAMESPACE_BEGIN

namespace detail {

template <kv_layout Layout>
class page_prefetch {
 public:
  /// The keys and values of `u`, for one walk, as `order` says.
  page_prefetch(const Layout& layout, const step_inputs& in, const unit& u, const reading_order& order) noexcept
      : layout_(layout), seq_(u.seq), heads_(u.heads), in_order_(order.pages), apart_(order.pages_apart),
        visits_(u.heads * (chunk_tokens / order.keys.step + chunk_tokens / order.values.step)) {
    const row_pitch &k = order.keys.pitch, &v = order.values.pitch;
    const std::int64_t k_rows = layout.order() == key_order::tiles ? tile_tokens : 1;  // tokens at one stride
    keys_ = {in.key_head(u.head), k.element, k.head, k.row * k_rows, rows_of_a_page(k.token) * k_rows};
    values_ = {in.value_head(u.head), v.element, v.head, v.row, rows_of_a_page(v.token)};
    burst_ =
        std::clamp(pages_of_a_burst * memory_page_bytes / (heads_ * (k.row + v.row)), block_keys, 4 * chunk_tokens);
  }

  /// Begins the walk, over `positions`.
  void start(interval positions) noexcept {
    keys_.next = values_.next = end_ = positions.begin;
    if (positions.empty()) return;
    const std::int64_t run = longest_run(positions), page = std::max(keys_.tokens, values_.tokens);
    how_ = run < pages_in_order * page ? apart_ : in_order_;
    if (how_ == page_order::none) return;
    end_ = positions.end;
    keys_.tokens = std::min(keys_.tokens, run);  // each run begins a page of its own
    values_.tokens = std::min(values_.tokens, run);
    if (how_ != page_order::singly) return;
    lead_ = round_up(least_lead * page, lead_);
    due_a_visit_ = chunk_tokens / keys_.tokens + chunk_tokens / values_.tokens;
  }

  /// Blocks up to `end` are read next: all that they need is asked for that is not yet, and some of what follows.
  void reach(std::int64_t end) noexcept {
    limit_ = std::min(end + lead_, end_);
    if (how_ == page_order::in_bursts) return ask_for_burst();
    for (const std::int64_t now = std::min(end + lead_ / 2, end_); first_of_next() < now;) ask_for_next();
  }

  /// A visit begins: where pages are asked for one by one, this visit's share of those before the limit.
  void ask_some() noexcept {
    due_ += due_a_visit_;
    if (due_ >= visits_) ask_for_due();
  }

 private:
  static constexpr std::int64_t pages_of_a_burst = 128, pages_of_a_line = 8;
  // One by one: how many pages ahead at least, and how many must follow each other for a processor to see it.
  static constexpr std::int64_t least_lead = 32, pages_in_order = 16;

  /// Keys, or values.
  struct stream {
    const char* base = nullptr;
    std::int64_t element = 0, head = 0, row = 0;  ///< bytes: of an element, from head to head, of a row
    std::int64_t tokens = 1;                      ///< that a page holds
    std::int64_t next = 0;                        ///< the first position not yet asked for
  };

  static std::int64_t rows_of_a_page(std::int64_t stride) noexcept {
    return stride == 0 ? block_keys : std::clamp<std::int64_t>(memory_page_bytes / stride, 1, block_keys);
  }

  /// Tokens of the first run or, if that began earlier, of the second.
  [[nodiscard]] std::int64_t longest_run(interval positions) const noexcept {
    const std::int64_t first = layout_.run_at(seq_, positions.begin).count, next = positions.begin + first;
    return next < positions.end ? std::max(first, layout_.run_at(seq_, next).count) : first;
  }

  [[nodiscard]] std::int64_t first_of_next() const noexcept { return std::min(keys_.next, values_.next); }

  void ask_for_due() noexcept {
    for (; due_ >= visits_; due_ -= visits_)
      if (first_of_next() < limit_) ask_for_next();
  }

  /// In the order of positions.
  void ask_for_next() noexcept {
    if (keys_.next <= values_.next) {
      fetch(keys_, layout_.run_at(seq_, keys_.next).k);
      keys_.next += keys_.tokens;
    } else {
      fetch(values_, layout_.run_at(seq_, values_.next).v);
      values_.next += values_.tokens;
    }
  }

  /// The translations of eight neighbours share a line of the page table, so each eighth page comes first: the rest
  /// then find those lines in the cache.
  void ask_for_burst() noexcept {
    const std::int64_t first = first_of_next();
    if (first >= limit_) return;
    const std::int64_t last = std::min(std::max(limit_, first + burst_), end_);
    for (std::int64_t i = 0; i < pages_of_a_line; ++i) {
      for (std::int64_t t = first + i * keys_.tokens; t < last; t += pages_of_a_line * keys_.tokens)
        fetch(keys_, layout_.run_at(seq_, t).k);
      for (std::int64_t t = first + i * values_.tokens; t < last; t += pages_of_a_line * values_.tokens)
        fetch(values_, layout_.run_at(seq_, t).v);
    }
    keys_.next = values_.next = last;
  }

  /// Inlined by force: of a function that does nothing but prefetch, a compiler may drop the calls.
  __attribute__((always_inline)) void fetch(const stream& s, std::int64_t element) const noexcept {
    const char* row = s.base + element * s.element;
    const std::int64_t heads = s.head == 0 ? heads_ : std::max<std::int64_t>(memory_page_bytes / s.head, 1);
    for (std::int64_t h = 0; h < heads_; h += heads)
      for (std::int64_t at = 0; at < s.row; at += memory_page_bytes) GQA_PREFETCH_PAGE(row + h * s.head + at);
  }

  const Layout& layout_;
  const std::int64_t seq_, heads_;
  const page_order in_order_, apart_;  ///< where long runs lie in order, and where short ones lie apart
  page_order how_ = page_order::none;
  stream keys_, values_;
  std::int64_t burst_ = 0, lead_ = 2 * block_keys;  ///< tokens
  std::int64_t limit_ = 0, end_ = 0;                ///< positions: of what may be asked for by now, of all
  std::int64_t due_ = 0, due_a_visit_ = 0;  ///< added up over visits; at visits_, one call of ask_for_next is due
  const std::int64_t visits_;               ///< that a chunk takes
};

}  // namespace detail

GQA_NAMESPACE_END
