// The order in which a unit reads its keys and values: nothing here changes a bit, only how well memory follows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../model/arithmetic.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

struct reading_order {
  std::int64_t step = block_keys;   ///< tokens of one head before the next head's
  std::int64_t ahead = block_keys;  ///< tokens between a row's prefetch and its use
  std::int64_t together = 1;        ///< blocks whose keys are all read before the first one's values
  bool in_turn = false;             ///< each key from end to end before the next
};

/// Up to as many rows as an element of K has bytes, reading a key takes longer than scoring it.
[[nodiscard]] constexpr bool reading_binds(std::int64_t rows, std::int64_t k_bytes) noexcept { return rows <= k_bytes; }
inline constexpr std::int64_t most_read_bound_rows = 4;

/// For a unit of `heads` KV heads with `rows` query rows each.
///
/// Where reading binds, one head's keys are all read a chunk at a time before its values, since each change from one
/// stream to the other costs the hardware's prefetchers a new start; and keys are scored in turn, which is what those
/// follow. Otherwise several keys side by side load a query less often. (A single row of interleaved heads has as many
/// memory pages open either way.)
///
/// Heads that lie interleaved are visited a few tokens at a time, so that memory is read in the order it lies: the
/// more rows share a key, the less that matters, and the more often sums would be stored between.
[[nodiscard]] inline reading_order order_of_reading(std::int64_t heads, std::int64_t rows, std::int64_t head_dim,
                                                    std::int64_t k_bytes) noexcept {
  reading_order order;
  order.in_turn = reading_binds(rows, k_bytes) && (heads == 1 || rows > 1);
  if (heads == 1) {
    if (!reading_binds(rows, k_bytes)) return order;
    order.together = chunk_tokens / block_keys;
    order.ahead = std::clamp<std::int64_t>(block_keys * rows / k_bytes, 16, block_keys);
    return order;
  }
  const std::int64_t token_bytes = heads * head_dim * k_bytes;
  const std::int64_t step_bytes = 4 * 1024 * std::clamp<std::int64_t>(rows, 8, 32);
  while (order.step > 8 && order.step * token_bytes > step_bytes) order.step /= 2;
  order.ahead = std::max<std::int64_t>(order.step, 16);
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
