// The order in which a unit reads its keys and values: nothing here changes a bit, only how well memory follows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernel/table.hpp"
#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Where a walk is, or will be: at which of the unit's heads, and how many tokens on.
struct visit {
  std::int64_t head = 0, token = 0;
};

/// How keys, or values, are read: so many tokens of one head, the same tokens of the next head, and so on.
struct reading_pace {
  std::int64_t step = block_keys;  ///< tokens of a visit, a power of two and at least row_group
  /// Visits between a row's prefetch and its use, of two: what was dropped is asked for again half way. 0 leaves
  /// reading to the hardware.
  std::int64_t ahead = 1;

  /// Where a walk now at `head` will be after `visits` more.
  [[nodiscard]] visit later(std::int64_t head, std::int64_t visits, std::int64_t heads) const noexcept {
    visit v{head + visits, 0};
    for (; v.head >= heads; v.head -= heads) v.token += step;
    return v;
  }
};

struct reading_order {
  reading_pace keys, values;
  std::int64_t together = 1;  ///< blocks whose keys are all read before the first one's values
  bool in_turn = false;       ///< each key from end to end before the next
  std::int64_t pages = 128;   ///< memory pages prefetched at a time (page_prefetch.hpp); 0: none
};

/// Up to as many rows as an element of K has bytes, reading a key takes longer than scoring it. Up to a few rows, it
/// takes long enough for the order to matter; from many on, it hardly does.
[[nodiscard]] constexpr bool reading_binds(std::int64_t rows, std::int64_t k_bytes) noexcept { return rows <= k_bytes; }
inline constexpr std::int64_t few_rows = 4, many_rows = 48;
inline constexpr std::int64_t first_level_bytes = 32 * 1024;  ///< of cache, on most processors

/// KV heads that a unit walks over together. Interleaved inside a token, all, in the order they lie: head by head,
/// every key would sit in another memory page. Apart, several where a few rows share a key: memory answers streams side
/// by side faster than one by one. A single row's the hardware follows best alone.
[[nodiscard]] constexpr std::int64_t heads_together(std::int64_t kv_heads, std::int64_t rows, std::int64_t k_bytes,
                                                    key_order keys, bool interleaved) noexcept {
  if (keys == key_order::tiles) return 1;
  if (interleaved) return kv_heads;
  return rows > 1 && reading_binds(rows, k_bytes) ? std::min<std::int64_t>(kv_heads, 4) : 1;
}

/// What decides the order in which a unit reads.
struct unit_shape {
  std::int64_t heads = 1;  ///< KV heads
  std::int64_t rows = 1;   ///< query rows of each
  std::int64_t head_dim = 0, v_head_dim = 0, k_bytes = 4, v_bytes = 4;
  key_order keys = key_order::rows;
  bool in_one_pass = false;  ///< a single row reads a value from end to end (kernel_table::value_columns)
};

/// Keys and values are visited a few tokens at a time, at least so many: where many rows share them, they stay in the
/// first level of cache; where several heads are walked together, memory is read about in the order it lies, several
/// pages side by side. What comes next is prefetched two visits ahead, and no further: that is more than memory can
/// have under way, and what is asked for early takes the place of what is needed now.
[[nodiscard]] inline reading_pace pace_of(std::int64_t row_bytes, std::int64_t least, const unit_shape& u) noexcept {
  const std::int64_t most = first_level_bytes / (u.heads > 1 && u.rows <= 2 * few_rows ? 8 : 4);
  reading_pace pace{block_keys, 2};
  while (u.rows <= many_rows && pace.step > least && pace.step * row_bytes > most) pace.step /= 2;
  return pace;
}

/// Each visit of values loads and stores the sums that it adds to, which costs the more, the more rows there are.
[[nodiscard]] constexpr std::int64_t least_values(std::int64_t rows) noexcept {
  return rows <= few_rows ? row_group : rows <= 2 * few_rows ? 2 * row_group : block_keys;
}

/// Few rows that walk one KV head alone read all keys of a chunk before its values, since each change from one stream
/// to the other costs the hardware's prefetchers a new start. Where reading binds, keys are scored in turn, which is
/// what the hardware follows; otherwise several keys side by side load a query less often.
///
/// What a single row reads from end to end, as it does f32 rows, is best left to the hardware altogether: prefetching
/// by hand takes the place of reads. Of interleaved heads it has so many memory pages open, and so little to do with
/// each, that it waits for several translations at once without being told to.
[[nodiscard]] inline reading_order order_of(const unit_shape& u) noexcept {
  reading_order order;
  const bool single = u.rows == 1, one_head = u.heads == 1;
  order.keys = pace_of(u.head_dim * u.k_bytes, row_group, u);
  order.values = pace_of(u.v_head_dim * u.v_bytes, least_values(u.rows), u);
  order.in_turn = reading_binds(u.rows, u.k_bytes) && (one_head || !single);
  const auto leave_to_hardware = [&](reading_pace& pace) { pace = {one_head ? block_keys : pace.step, 0}; };
  if (single && u.k_bytes == 4) leave_to_hardware(order.keys);
  if (single && (u.in_one_pass || (u.v_bytes == 4 && !one_head))) leave_to_hardware(order.values);
  if (u.keys == key_order::tiles) order.keys = {2 * tile_tokens, 1};  // as many as are scored together
  if (single && !one_head) order.pages = 0;
  if (!one_head) return order;
  if (u.rows <= few_rows) order.together = chunk_blocks;
  for (reading_pace* pace : {&order.keys, &order.values})  // offsets are at hand for one more block
    pace->ahead = std::min(pace->ahead, block_keys / pace->step);
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
