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

/// What a visit prefetches while it reads. Of several heads interleaved inside a token, each token's rows end to end
/// with the next one's, the order they lie in is not the order they are read in. Memory answers the former much sooner,
/// since the hardware's own prefetchers follow it and run ahead.
enum class lead : std::uint8_t {
  nothing,  ///< reading is left to the hardware
  visits,   ///< what the second visit from here reads, or, of one head alone, the next
  rows,     ///< its share of the tokens that come after these, of all heads, in the order they lie
  pages     ///< its share of them, a line from each of several memory pages in turn
};

/// How keys, or values, are read: so many tokens of one head, the same tokens of the next head, and so on.
struct reading_pace {
  std::int64_t step = block_keys;  ///< tokens of a visit, a power of two and at least row_group
  lead ahead = lead::visits;

  /// What a visit of `head` prefetches, of `heads`, if that is what some visit reads.
  [[nodiscard]] visit later(std::int64_t head, std::int64_t heads) const noexcept {
    if (ahead == lead::nothing) return {head, 0};
    if (heads == 1) return {0, step};
    visit v{head + 2, 0};
    for (; v.head >= heads; v.head -= heads) v.token += step;
    return v;
  }

  /// Whether it prefetches a share of rows that lie end to end.
  [[nodiscard]] bool in_one_piece() const noexcept { return ahead == lead::rows || ahead == lead::pages; }
};

/// The share that the visit of `head`, of `heads`, takes of the next `step` tokens, whose rows of all heads lie end to
/// end from `next` on. Row j of all those visits has row j; or, of as many equal parts as a row has lines, line j.
[[nodiscard]] inline rows_ahead share_of_next(const reading_pace& pace, std::int64_t head, std::int64_t heads,
                                              std::int64_t row_bytes, const char* next) noexcept {
  rows_ahead share;
  share.stride = row_bytes;
  if (pace.ahead == lead::pages) {
    share.stride = line_bytes;
    share.spread = heads * pace.step;
  }
  share.base = next + head * pace.step * share.stride;
  return share;
}

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

/// How keys, or values, lie: bytes of an element, of a row, from head to head and from token to token.
struct row_pitch {
  std::int64_t element = 4, row = 0, head = 0, token = 0;

  /// Whether the rows of one token touch each other and those of the next.
  [[nodiscard]] bool in_one_piece(std::int64_t heads) const noexcept {
    return heads > 1 && head == row && token == heads * row;
  }
};

/// What decides the order in which a unit reads.
struct unit_shape {
  std::int64_t heads = 1;  ///< KV heads
  std::int64_t rows = 1;   ///< query rows of each
  row_pitch k, v;
  key_order keys = key_order::rows;
  bool in_one_pass = false;  ///< a single row reads a value from end to end (kernel_table::value_columns)
};

/// The most tokens, up to a block and at least so many, whose rows take `bytes`.
[[nodiscard]] constexpr std::int64_t tokens_within(std::int64_t bytes, std::int64_t row, std::int64_t least) noexcept {
  std::int64_t tokens = block_keys;
  while (tokens > least && tokens * row > bytes) tokens /= 2;
  return tokens;
}

/// Few tokens a visit: where many rows share keys, they stay in the first level of cache; where several heads are
/// walked together, memory is read about in the order it lies.
///
/// What a single row reads from end to end, as it does f32 keys, is best left to the hardware altogether: prefetching
/// by hand takes the place of reads.
[[nodiscard]] constexpr reading_pace key_pace(const unit_shape& u) noexcept {
  if (u.keys == key_order::tiles) return {2 * tile_tokens};  // as many as are scored together
  if (u.rows > many_rows) return {};
  const bool one_head = u.heads == 1;
  if (u.rows == 1 && u.k.element == 4) return {one_head ? block_keys : row_group, lead::nothing};
  if (one_head) return {tokens_within(first_level_bytes / 4, u.k.row, row_group)};
  if (u.rows == 1 || !u.k.in_one_piece(u.heads)) return {row_group};
  const bool whole_lines = u.k.row % line_bytes == 0;
  return {row_group, reading_binds(u.rows, u.k.element) && whole_lines ? lead::pages : lead::rows};
}

/// The same for values, the more tokens a visit, the more rows there are, since each visit loads and stores the sums
/// that it adds to.
[[nodiscard]] constexpr reading_pace value_pace(const unit_shape& u) noexcept {
  if (u.rows > 4 * few_rows) return {};
  const bool one_head = u.heads == 1, few = u.rows <= 2 * few_rows;
  if (u.rows > 1 && u.v.in_one_piece(u.heads)) return {(few ? 2 : 4) * row_group, lead::rows};
  if (!few) return {};
  const std::int64_t least = u.rows <= few_rows ? row_group : 2 * row_group;
  const std::int64_t step = tokens_within(first_level_bytes / (one_head ? 4 : 8), u.v.row, least);
  const bool from_end_to_end = u.in_one_pass || (u.v.element == 4 && !one_head);
  if (u.rows == 1 && from_end_to_end) return {one_head ? block_keys : step, lead::nothing};
  return {step};
}

/// Few rows that walk one KV head alone read all keys of a chunk before its values, since each change from one stream
/// to the other costs the hardware's prefetchers a new start. Where reading binds, keys are scored in turn if they come
/// in the order of use, which the hardware follows; otherwise several keys side by side load a query less often.
///
/// Of interleaved heads a single row has so many memory pages open, and so little to do with each, that it waits for
/// several translations at once without being told to.
[[nodiscard]] constexpr reading_order order_of(const unit_shape& u) noexcept {
  const bool single = u.rows == 1, one_head = u.heads == 1;
  reading_order order{key_pace(u), value_pace(u)};
  order.in_turn = reading_binds(u.rows, u.k.element) && (one_head || (!single && order.keys.ahead == lead::visits));
  if (one_head && u.rows <= few_rows) order.together = chunk_blocks;
  if (!one_head && single) order.pages = 0;
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
