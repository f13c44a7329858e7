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
  std::int64_t step = block_keys;          ///< tokens that a kernel works on at a time
  std::int64_t ahead = block_keys;         ///< tokens between a key's prefetch and its use; 0 leaves it to the hardware
  std::int64_t values_ahead = block_keys;  ///< the same of a value
  std::int64_t together = 1;               ///< blocks whose keys are all read before the first one's values
  bool in_turn = false;                    ///< each key from end to end before the next
};

/// Up to as many rows as an element of K has bytes, reading a key takes longer than scoring it. Up to a few rows, it
/// takes long enough for the order to matter.
[[nodiscard]] constexpr bool reading_binds(std::int64_t rows, std::int64_t k_bytes) noexcept { return rows <= k_bytes; }
inline constexpr std::int64_t few_rows = 4;

/// For a unit of one KV head with `rows` query rows.
///
/// With few rows, keys are all read a chunk at a time before its values, since each change from one stream to the other
/// costs the hardware's prefetchers a new start. Where reading binds, keys are scored in turn, which is what those
/// follow; otherwise several keys side by side load a query less often. Several rows take an f32 value in several
/// passes: all of them over a few tokens, while their memory page is open.
///
/// What a single row reads from end to end, as it does f32 keys in rows and values that it takes `in_one_pass`, is best
/// left to the hardware altogether: prefetching by hand takes the place of reads.
[[nodiscard]] inline reading_order order_of_one_head(std::int64_t rows, std::int64_t k_bytes, std::int64_t v_bytes,
                                                     key_order keys, bool in_one_pass) noexcept {
  reading_order order;
  if (rows <= few_rows) order.together = chunk_blocks;
  if (!reading_binds(rows, k_bytes)) return order;
  order.in_turn = true;
  if (rows > 1 && v_bytes == 4) order.step = 2 * row_group;
  if (keys == key_order::rows)
    order.ahead = rows == 1 && k_bytes == 4 ? 0 : std::clamp<std::int64_t>(block_keys * rows / k_bytes, 16, block_keys);
  if (rows == 1 && in_one_pass) order.values_ahead = 0;
  return order;
}

/// For a unit of several KV heads, whose keys and values lie interleaved: they are visited a few tokens at a time, so
/// that memory is read in the order it lies. The more rows share a key, the less that matters, and the more often sums
/// would be stored between. (A single row has as many memory pages open whether or not keys are scored in turn.)
[[nodiscard]] inline reading_order order_of_heads(std::int64_t heads, std::int64_t rows, std::int64_t head_dim,
                                                  std::int64_t k_bytes) noexcept {
  reading_order order;
  order.in_turn = reading_binds(rows, k_bytes) && rows > 1;
  const std::int64_t token_bytes = heads * head_dim * k_bytes;
  const std::int64_t step_bytes = 4 * 1024 * std::clamp<std::int64_t>(rows, 8, 32);
  while (order.step > row_group && order.step * token_bytes > step_bytes) order.step /= 2;
  order.ahead = order.values_ahead = std::max<std::int64_t>(order.step, 16);
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
