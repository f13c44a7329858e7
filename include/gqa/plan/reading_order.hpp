// The order in which a unit reads its keys and values: nothing here changes a bit, only how well memory follows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernel/table.hpp"
#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Tokens in multiples of row_group; those to prefetch ahead, of two: what was dropped is asked for again half way.
struct reading_order {
  std::int64_t key_step = block_keys;      ///< keys that a kernel scores at a time
  std::int64_t step = block_keys;          ///< values that it weighs at a time
  std::int64_t ahead = block_keys;         ///< tokens between a key's prefetch and its use; 0 leaves it to the hardware
  std::int64_t values_ahead = block_keys;  ///< the same of a value
  std::int64_t together = 1;               ///< blocks whose keys are all read before the first one's values
  bool in_turn = false;                    ///< each key from end to end before the next
  std::int64_t pages = 128;                ///< memory pages prefetched at a time (page_prefetch.hpp); 0: none
};

/// Up to as many rows as an element of K has bytes, reading a key takes longer than scoring it. Up to a few rows, it
/// takes long enough for the order to matter.
[[nodiscard]] constexpr bool reading_binds(std::int64_t rows, std::int64_t k_bytes) noexcept { return rows <= k_bytes; }
inline constexpr std::int64_t few_rows = 4;
inline constexpr std::int64_t first_level_bytes = 32 * 1024;  ///< of cache, on most processors

/// What decides the order in which a unit reads.
struct unit_shape {
  std::int64_t heads = 1;   ///< KV heads
  std::int64_t rows = 1;    ///< query rows of each
  std::int64_t tokens = 0;  ///< that some row sees
  std::int64_t head_dim = 0, k_bytes = 4, v_bytes = 4;
  key_order keys = key_order::rows;
  bool in_one_pass = false;  ///< a single row reads a value from end to end (kernel_table::value_columns)
};

/// For one KV head. With few rows, keys are all read a chunk at a time before its values, since each change from one
/// stream to the other costs the hardware's prefetchers a new start; more rows read keys several times, so few at a
/// time that they stay in the first level of cache. Where reading binds, keys are scored in turn, which is what the
/// hardware follows; otherwise several keys side by side load a query less often. Several rows take an f32 value in
/// several passes: all of them over a few tokens, while their memory page is open.
///
/// What a single row reads from end to end, as it does f32 keys in rows and values that it takes in one pass, is best
/// left to the hardware altogether: prefetching by hand takes the place of reads.
[[nodiscard]] inline reading_order order_of_one_head(const unit_shape& u) noexcept {
  reading_order order;
  if (u.rows <= few_rows) {
    order.together = chunk_blocks;
  } else {
    while (order.key_step > row_group && order.key_step * u.head_dim * u.k_bytes > first_level_bytes / 4)
      order.key_step /= 2;
  }
  if (!reading_binds(u.rows, u.k_bytes)) return order;
  order.in_turn = true;
  if (u.rows > 1 && u.v_bytes == 4) order.step = row_group;
  if (u.keys == key_order::rows)
    order.ahead =
        u.rows == 1 && u.k_bytes == 4 ? 0 : std::clamp<std::int64_t>(block_keys * u.rows / u.k_bytes, 16, block_keys);
  if (u.rows == 1 && u.in_one_pass) order.values_ahead = 0;
  return order;
}

/// For several KV heads, whose keys and values lie interleaved: they are visited a few tokens at a time, so that memory
/// is read in the order it lies. The more rows share a key, the less that matters, and the more often sums would be
/// stored between. A single row has as many memory pages open whether or not keys are scored in turn, and so little to
/// do with each that it waits for several translations at once without being told to.
[[nodiscard]] inline reading_order order_of_heads(const unit_shape& u) noexcept {
  reading_order order;
  order.in_turn = reading_binds(u.rows, u.k_bytes) && u.rows > 1;
  if (u.rows == 1) order.pages = 0;
  const std::int64_t token_bytes = u.heads * u.head_dim * u.k_bytes;
  const std::int64_t step_bytes = 16 * 1024 * std::clamp<std::int64_t>(u.rows, 2, 8);
  while (order.step > row_group && order.step * token_bytes > step_bytes) order.step /= 2;
  order.key_step = order.step;
  while (order.ahead > 2 * row_group && order.ahead * token_bytes > 128 * 1024) order.ahead /= 2;
  order.values_ahead = order.ahead;
  return order;
}

/// In a short unit, much is read before anything ahead of it was asked for: little of it, if that is near.
[[nodiscard]] inline reading_order order_of(const unit_shape& u) noexcept {
  reading_order order = u.heads > 1 ? order_of_heads(u) : order_of_one_head(u);
  if (u.tokens >= 2 * chunk_tokens) return order;
  if (u.heads > 1) {
    order.key_step = order.step = std::min(order.step, 2 * row_group);
    order.ahead = order.values_ahead = 2 * row_group;
  }
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
