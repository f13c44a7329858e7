// The order in which a unit reads its keys and values: nothing here changes a bit, only how well memory follows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../isa/processor.hpp"
#include "../kernel/table.hpp"
#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Where a walk is, or will be: at which of the unit's heads, and how many tokens on.
struct visit {
  std::int64_t head = 0, token = 0;
};

/// What a visit prefetches while it reads. Of several heads interleaved inside a token, the order of memory is not the
/// order of use, and on most processors is answered much sooner, since their own prefetchers follow it and run ahead.
enum class prefetch_order : std::uint8_t {
  none,               ///< nothing but what is being read: left to the hardware
  of_use,             ///< what a visit further on reads
  of_use_by_pages,    ///< of its tiles, first lines, and those of memory pages in them: the hardware follows from there
  of_memory,          ///< its part of the tokens that come next, whose rows of all its heads touch each other
  of_memory_by_parts  ///< its part of them, spread over equal parts, pages side by side: as many as a row has lines
};

/// How keys, or values, lie: bytes of an element, of a row, from head to head and from token to token.
struct row_pitch {
  std::int64_t element = 4, row = 0, head = 0, token = 0;

  /// Whether the rows of one token, of `heads`, touch each other and those of the next.
  [[nodiscard]] constexpr bool rows_touch(std::int64_t heads) const noexcept {
    return (heads == 1 || head == row) && token == heads * row;
  }
};

/// How keys, or values, are read: so many tokens of one head, the same tokens of the next head, and so on.
struct reading_pace {
  std::int64_t step = block_keys;  ///< tokens of a visit, a power of two from row_group to block_keys
  prefetch_order prefetch = prefetch_order::of_use;
  row_pitch pitch = {};
  std::int64_t visits_on = 1;  ///< in the order of use: to the one whose rows are prefetched
  bool first_level = false;    ///< prefetched into the first level of cache

  [[nodiscard]] constexpr bool follows_memory() const noexcept {
    return prefetch == prefetch_order::of_memory || prefetch == prefetch_order::of_memory_by_parts;
  }

  /// The same where only `run` tokens at a time lie evenly spaced. In the order of memory no visit crosses the end of a
  /// run; runs shorter than a row_group have no such order.
  [[nodiscard]] constexpr reading_pace within(std::int64_t run) const noexcept {
    reading_pace pace = *this;
    if (!follows_memory()) return pace;
    if (run < row_group) pace.prefetch = prefetch_order::of_use;
    else pace.step = std::min(step, run);
    return pace;
  }

  /// The visit whose rows a visit of `head`, of `heads`, prefetches in the order of use.
  [[nodiscard]] constexpr visit next_of_use(std::int64_t head, std::int64_t heads) const noexcept {
    if (prefetch == prefetch_order::none) return {head, 0};
    visit v{head + visits_on, 0};
    for (; v.head >= heads; v.head -= heads) v.token += step;
    return v;
  }

  /// What a visit of `head`, of `heads`, prefetches in the order of memory, if the next `step` tokens begin at `next`:
  /// row j of all visits, in their order, prefetches row j, or, by parts, with its line l line j of part l.
  [[nodiscard]] constexpr rows_ahead next_of_memory(std::int64_t head, std::int64_t heads,
                                                    const char* next) const noexcept {
    const bool by_parts = prefetch == prefetch_order::of_memory_by_parts;
    const std::int64_t stride = by_parts ? line_bytes : pitch.row;
    return {{next + head * step * stride, nullptr}, stride, by_parts ? heads * step : 1, first_level};
  }

  /// The same for keys of one head in tiles: of as many parts as a score has lanes, each tile its share of each.
  [[nodiscard]] constexpr rows_ahead next_tiles(const char* next) const noexcept {
    const std::int64_t share = tile_tokens * pitch.row / score_lanes;
    return {{next, nullptr}, share, step / tile_tokens * share};
  }
};

/// How the memory pages that come next are asked for (page_prefetch.hpp).
enum class page_order : std::uint8_t {
  none,
  singly,    ///< in the order they lie, some with each visit
  in_bursts  ///< many at a time
};

struct reading_order {
  reading_pace keys, values;
  std::int64_t together = 1;  ///< blocks whose keys are all read before the first one's values
  bool in_turn = false;       ///< each key from end to end before the next
  /// Memory pages where a layout's runs hold many, and where they hold few, which lie apart.
  page_order pages = page_order::none, pages_apart = page_order::none;
  /// Tokens of a walk's first block that are prefetched before anything is read (first_rows.hpp): keys of all heads,
  /// values of the first one.
  std::int64_t first_keys = 0, first_values = 0;
};

/// Up to as many rows as an element has bytes, reading a key, or a value, takes longer than its arithmetic.
[[nodiscard]] constexpr bool reading_binds(std::int64_t rows, std::int64_t element) noexcept { return rows <= element; }
inline constexpr std::int64_t few_rows = 16;                  ///< whose scores of a chunk are little
inline constexpr std::int64_t rows_of_single_pages = 5;       ///< at most: more have them asked for in bursts
inline constexpr std::int64_t first_level_bytes = 32 * 1024;  ///< of cache, on most processors

/// KV heads that a unit walks over together. Interleaved inside a token, all, in the order they lie: head by head,
/// every key would sit in another memory page. Apart, several where a few rows share a key: memory answers streams side
/// by side faster than one by one, unless one head is read as several streams (parts_pay). A single row reads one head
/// after the other.
[[nodiscard]] constexpr std::int64_t heads_together(std::int64_t kv_heads, std::int64_t rows, std::int64_t k_bytes,
                                                    key_order keys, bool interleaved,
                                                    const processor_traits& processor) noexcept {
  if (keys == key_order::tiles) return 1;
  if (interleaved) return kv_heads;
  const bool gains = rows > 1 && reading_binds(rows, k_bytes) && !processor.by_parts;
  return gains ? std::min<std::int64_t>(kv_heads, 4) : 1;
}

/// What decides the order in which a unit reads.
struct unit_shape {
  memory_traits memory;  ///< of the target
  processor_traits processor;
  std::int64_t heads = 1;  ///< KV heads
  std::int64_t rows = 1;   ///< query rows of each
  row_pitch k, v;
  key_order keys = key_order::rows;
  bool packed = false;              ///< keys are, before they are scored
  bool values_in_one_pass = false;  ///< a single row reads a value from end to end (kernel_table::value_columns)
  bool tiles_in_one_pass = false;   ///< rows read a tile so (kernel_table::one_pass_rows)
};

/// Whether a single row is best left to the hardware: prefetching by hand takes the place of reads.
[[nodiscard]] constexpr bool hardware_follows(const unit_shape& u) noexcept {
  return u.rows == 1 && !(u.heads == 1 ? u.processor.asks_for_one_head : u.processor.asks_for_heads);
}

/// Whether rows that share keys, or values, of interleaved heads had best prefetch them in the order of memory: if the
/// processor gains by it, unless tokens are so large that the next ones would find no room in the second level of
/// cache.
[[nodiscard]] constexpr bool memory_order_pays(const unit_shape& u, const row_pitch& pitch) noexcept {
  return u.processor.memory_order && u.heads > 1 && !hardware_follows(u) && pitch.rows_touch(u.heads) &&
         pitch.token <= u.memory.largest_token;
}

/// Whether rows had best prefetch the keys, or values, that come next in parts side by side: those of one head, which
/// are a single stream; those of several, which are more, if rows make four parts or more and tokens are small, half
/// as large where reading binds. Measured.
[[nodiscard]] constexpr bool parts_pay(const unit_shape& u, const row_pitch& pitch) noexcept {
  const bool few = u.rows <= 4 * pitch.element, whole_lines = pitch.row % line_bytes == 0;
  if (!u.processor.by_parts || !few || !whole_lines || !pitch.rows_touch(u.heads)) return false;
  const std::int64_t largest_token = memory_page_bytes / (reading_binds(u.rows, pitch.element) ? 2 : 1);
  return u.heads == 1 || (pitch.token <= largest_token && pitch.row >= 4 * line_bytes);
}

/// The most tokens whose rows fit in `bytes`: a power of two from `least` to a block.
[[nodiscard]] constexpr std::int64_t tokens_within(std::int64_t bytes, std::int64_t row, std::int64_t least) noexcept {
  std::int64_t tokens = block_keys;
  while (tokens > least && tokens * row > bytes) tokens /= 2;
  return tokens;
}

/// Visits that prefetch what comes next in parts: of several heads, no more than finds room in the second level of
/// cache beside what is being read.
[[nodiscard]] constexpr reading_pace pace_by_parts(const unit_shape& u, const row_pitch& pitch) noexcept {
  if (u.heads == 1) return {block_keys, prefetch_order::of_memory_by_parts};
  const std::int64_t room = tokens_within(2 * first_level_bytes, pitch.token, row_group);
  return {std::min(room, block_keys / 2), prefetch_order::of_memory_by_parts};
}

/// Visits of `step` tokens that prefetch nothing.
[[nodiscard]] constexpr reading_pace left_to_hardware(std::int64_t step) noexcept {
  return {step, prefetch_order::none};
}

/// Few tokens a visit: keys that several rows share stay in the first level of cache, and heads that are interleaved
/// are read about in the order they lie, a single row's, which it does not keep, the most closely. Rows that take
/// longer than reading need not, and gain by longer visits, of up to half a block and of eight times the largest token.
/// Where reading binds, memory is asked for several pages side by side; of one head, 16-bit keys gain by being asked
/// for everywhere. Tiles that are read once, in the order they lie, some processors follow by themselves: asking for
/// every line would take the place of reads.
[[nodiscard]] constexpr reading_pace key_pace(const unit_shape& u) noexcept {
  if (u.keys == key_order::tiles) {
    const row_pitch tile{u.k.element, tile_tokens * u.k.row, u.k.head, u.k.token};
    const bool even = u.k.row % (score_lanes * u.k.element) == 0;  // each lane has as many elements
    if (u.tiles_in_one_pass && even && parts_pay(u, tile)) return pace_by_parts(u, tile);
    const bool follows = u.tiles_in_one_pass && u.processor.follows_tiles && reading_binds(u.rows, u.k.element);
    const std::int64_t of_a_call = 2 * tile_tokens;
    return {of_a_call, follows ? prefetch_order::of_use_by_pages : prefetch_order::of_use};
  }
  if (u.packed) return {};
  if (parts_pay(u, u.k)) return pace_by_parts(u, u.k);
  const bool one_head = u.heads == 1, single = u.rows == 1;
  if (hardware_follows(u) && !(one_head && u.k.element < 4)) return left_to_hardware(one_head ? block_keys : row_group);
  const std::int64_t step = tokens_within(first_level_bytes / (one_head ? 2 : 8), u.k.row, row_group);
  if (one_head) return {single ? block_keys / 2 : step};
  const bool in_order = memory_order_pays(u, u.k);
  if (!reading_binds(u.rows, u.k.element) && (in_order || !u.processor.memory_order)) {
    const std::int64_t room = tokens_within(8 * u.memory.largest_token, u.heads * u.k.row, row_group);
    return {std::max(step, std::min(room, block_keys / 2)),
            in_order ? prefetch_order::of_memory : prefetch_order::of_use};
  }
  if (!in_order) return {row_group};
  const bool whole_lines = u.k.row % line_bytes == 0;
  return {single ? row_group : step, whole_lines ? prefetch_order::of_memory_by_parts : prefetch_order::of_memory};
}

/// The same for values. A visit loads and stores the sums that it adds to, so that rows that take longer than reading
/// take more tokens, and have time for those of the next visit, in the order of use. Rows that prefetch a value's next
/// piece with each (memory_traits::beside_rows) do so in the order of use as well.
[[nodiscard]] constexpr reading_pace value_pace(const unit_shape& u) noexcept {
  const bool one_head = u.heads == 1;
  if (parts_pay(u, u.v)) return pace_by_parts(u, u.v);
  if (!reading_binds(u.rows, u.v.element)) {
    const bool short_rows = u.v.row <= 64 * u.v.element;  // with time for the next visit's in a long visit only
    return {u.rows >= 2 * u.v.element || short_rows ? block_keys : block_keys / 2};
  }
  if (u.rows > u.memory.beside_rows && memory_order_pays(u, u.v)) return {2 * row_group, prefetch_order::of_memory};
  const bool closely = u.rows == 1 && !one_head;  // in the order they lie, as keys
  const std::int64_t step =
      closely ? row_group : tokens_within(first_level_bytes / (one_head ? 4 : 8), u.v.row, row_group);
  const bool from_end_to_end = u.values_in_one_pass || (u.v.element == 4 && !one_head);
  if (hardware_follows(u) && from_end_to_end) return left_to_hardware(one_head ? block_keys : step);
  return {step};
}

/// How many visits of `pace` on to prefetch in the order of use: at most a block of tokens, for which offsets are at
/// hand. First lines leave the hardware the whole way to catch up, even of one head.
[[nodiscard]] constexpr std::int64_t visits_on(const reading_pace& pace, const unit_shape& u) noexcept {
  const bool far = u.heads > 1 || pace.prefetch == prefetch_order::of_use_by_pages;
  const std::int64_t least = u.heads == 1 ? 1 : 2, bytes = u.processor.bytes_ahead / (far ? 1 : 2);
  return std::clamp(bytes / (pace.step * pace.pitch.row), least, u.heads * block_keys / pace.step);
}

/// Whether what `pace` prefetches goes into the first level of cache: where the processor gains by it, in parts
/// and, if it finds room there, in the order of use of several heads.
[[nodiscard]] constexpr bool to_first_level(const reading_pace& pace, const unit_shape& u) noexcept {
  if (u.rows > u.processor.first_level_rows || !reading_binds(u.rows, pace.pitch.element)) return false;
  if (pace.prefetch == prefetch_order::of_memory_by_parts) return true;
  return u.heads > 1 && !pace.follows_memory() && pace.visits_on * pace.step * pace.pitch.row <= first_level_bytes / 2;
}

/// How memory pages are asked for, as measured. Asked for one by one, in order, a processor sees where that leads and
/// translates ahead by itself; where it does not, each waits, and many at a time wait together. It sees it by chance
/// where keys are f32, whose visits are shorter than a translation. A single row that reads several heads has so many
/// pages open that it waits for several translations at once without being told to.
[[nodiscard]] constexpr page_order page_order_of(const unit_shape& u, bool in_order) noexcept {
  if (!u.processor.prefetches_pages) return page_order::none;
  if (in_order && u.k.element < 4 && u.rows <= rows_of_single_pages) return page_order::singly;
  return u.rows == 1 && u.heads > 1 ? page_order::none : page_order::in_bursts;
}

/// Few rows that walk one KV head alone read all keys of a chunk before its values, since each change from one stream
/// to the other costs the hardware's prefetchers a new start. Where reading binds and what is prefetched does not come
/// in the order of memory, the keys of one head, and those that several rows share, are scored in turn, which is what
/// the hardware of most processors follows; otherwise several keys side by side load a query less often.
///
/// Rows that take longer than reading ask at a walk's start for the keys of up to 64 KiB, measured on short windows,
/// and for the values of the first visit, which in the order of use bring the next one's; in the order of memory,
/// asking for all heads' gained nothing. Where reading binds, asking would only come on top; where tokens are large,
/// much would be pushed out again.
[[nodiscard]] constexpr reading_order order_of(const unit_shape& u) noexcept {
  const bool single = u.rows == 1, one_head = u.heads == 1;
  reading_order order{key_pace(u), value_pace(u)};
  order.keys.pitch = u.k;
  order.values.pitch = u.v;
  order.keys.visits_on = visits_on(order.keys, u);
  if (reading_binds(u.rows, u.v.element)) order.values.visits_on = visits_on(order.values, u);
  order.keys.first_level = u.keys == key_order::rows && to_first_level(order.keys, u);
  order.values.first_level = to_first_level(order.values, u);
  order.in_turn = u.processor.in_turn && reading_binds(u.rows, u.k.element) && (one_head || !single) &&
                  !order.keys.follows_memory();
  if (one_head && u.rows <= few_rows) order.together = chunk_blocks;
  order.pages = page_order_of(u, true);
  order.pages_apart = page_order_of(u, false);
  if (!reading_binds(u.rows, u.k.element) && u.keys == key_order::rows && u.heads * u.k.row <= u.memory.largest_token)
    order.first_keys = tokens_within(2 * first_level_bytes, u.heads * u.k.row, row_group);
  if (!reading_binds(u.rows, u.v.element)) order.first_values = order.values.step;
  return order;
}

}  // namespace detail

GQA_NAMESPACE_END
