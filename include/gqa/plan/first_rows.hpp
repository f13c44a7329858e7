// Prefetches the keys and values that a walk over a unit reads first. Later ones are asked for while something else is
// computed (reading_order.hpp); for the first, rows that take longer than reading would wait line by line, where memory
// answers many lines at once. The unit before may have asked for some of them (block.hpp); asking again costs little.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernel/table.hpp"
#include "block.hpp"
#include "inputs.hpp"
#include "reading_order.hpp"
#include "work.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Rows of `heads` heads, `pitch.head` apart, from `head` on, of the first tokens of a block: offsets[0], offsets[1],
/// ... or, where `stride` is not 0, so far apart from each row_group's first on. Inlined by force: of a function that
/// does nothing but prefetch, a compiler may drop the calls.
__attribute__((always_inline)) inline void prefetch_rows(const char* head, const row_pitch& pitch, std::int64_t heads,
                                                         const std::int64_t* offsets, std::int64_t stride,
                                                         std::int64_t tokens) noexcept {
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t inside = stride != 0 ? t % row_group : 0;
    const char* const row = head + offsets[t - inside] + inside * stride;
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t at = 0; at < pitch.row; at += line_bytes) GQA_PREFETCH(row + h * pitch.head + at, 2);
  }
}

/// What `order` says of `b`, the first block of a walk over `u`. Keys in tiles have no part in it.
__attribute__((always_inline)) inline void prefetch_first_rows(const step_inputs& in, const unit& u, const key_block& b,
                                                               const reading_order& order) noexcept {
  const std::int64_t columns = b.end - b.begin;
  prefetch_rows(in.key_head(u.head), order.keys.pitch, u.heads, b.k + b.begin, b.k_stride,
                std::min(order.first_keys, columns));
  prefetch_rows(in.value_head(u.head), order.values.pitch, 1, b.v + b.begin, b.v_stride,
                std::min(order.first_values, columns));
}

}  // namespace detail

GQA_NAMESPACE_END
