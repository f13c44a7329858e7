// How a step's work is cut. A unit is what one walk over a cache computes: some query tokens of a sequence against some
// KV heads. A cell is one chunk of tokens of one unit. Units and their cells form one line,
//
//   sequence -> heads -> query tokens -> cell,
//
// which is cut into `shares` pieces of about equal cost, at cell boundaries only. A unit that lies in several shares
// leaves partial states that merge afterwards; nothing of this can change a bit (model/arithmetic.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "../base/checked.hpp"
#include "../model/arithmetic.hpp"
#include "../model/visibility.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Lengths of one sequence and how its work is cut.
struct sequence_work {
  std::int64_t q_len = 0, kv_len = 0, q_start = 0;
  std::int64_t unit_heads = 1;   ///< KV heads a unit walks over together
  std::int64_t unit_tokens = 1;  ///< query tokens of a unit
};

/// Query tokens [token, token + tokens) of sequence `seq` for KV heads [head, head + heads).
struct unit {
  std::int64_t seq = 0, head = 0, heads = 0, token = 0, tokens = 0;
};

/// A place on the line of cells.
struct cursor {
  std::int64_t seq = 0, part = 0, tile = 0, cell = 0;
  [[nodiscard]] bool same_unit(const cursor& o) const noexcept {
    return seq == o.seq && part == o.part && tile == o.tile;
  }
  [[nodiscard]] bool operator==(const cursor&) const noexcept = default;
};

/// The chunks a unit looks at: [0, sink_end) and [begin, end), in order.
struct chunk_list {
  std::int64_t sink_end = 0, begin = 0, end = 0;
  [[nodiscard]] std::int64_t size() const noexcept { return sink_end + end - begin; }
  [[nodiscard]] std::int64_t operator[](std::int64_t i) const noexcept {
    return i < sink_end ? i : begin + i - sink_end;
  }
};

[[nodiscard]] inline chunk_list chunks_of(const visible_keys& v) noexcept {
  chunk_list c;
  c.sink_end = divide_up(v.sink_end, chunk_tokens);
  if (v.end > v.begin) {
    c.end = divide_up(v.end, chunk_tokens);
    c.begin = std::max(v.begin / chunk_tokens, c.sink_end);
    c.sink_end = std::min(c.sink_end, c.begin);
    if (c.end < c.begin) c.end = c.begin;
  }
  return c;
}

struct interval {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] bool empty() const noexcept { return begin >= end; }
};

/// The positions in chunks[first] ... chunks[last - 1] that somebody sees, sink tokens aside.
[[nodiscard]] inline interval positions_of(const visible_keys& v, const chunk_list& chunks, std::int64_t first,
                                           std::int64_t last) noexcept {
  if (first >= last) return {};
  return {std::max(chunks[first] * chunk_tokens, v.begin), std::min((chunks[last - 1] + 1) * chunk_tokens, v.end)};
}

/// Rows a unit may reach: those that share packed keys, so many that packing is little, so few that their q, o and S
/// fit in the second level of cache.
inline constexpr std::int64_t rows_of_a_unit = 256;

/// Rows a unit can have: what scratch must hold.
[[nodiscard]] inline std::int64_t max_unit_rows(std::int64_t q_heads, std::int64_t group,
                                                std::int64_t max_q_len) noexcept {
  const checked all = checked(std::max<std::int64_t>(max_q_len, 1)) * q_heads;
  return std::min(saturated(all), std::max(rows_of_a_unit, group));
}

/// Up to `heads` KV heads are walked over together.
[[nodiscard]] inline sequence_work cut(std::int64_t q_len, std::int64_t group, std::int64_t heads) noexcept {
  sequence_work w;
  w.q_len = q_len;
  const bool few = q_len <= rows_of_a_unit / group;
  if (few)
    w.unit_heads = std::clamp<std::int64_t>(rows_of_a_unit / (std::max<std::int64_t>(q_len, 1) * group), 1, heads);
  w.unit_tokens = std::max<std::int64_t>(few ? q_len : rows_of_a_unit / group, 1);
  return w;
}

/// The line of cells of a batch.
struct work_line {
  const sequence_work* sequences = nullptr;
  std::int64_t batch = 0;
  std::int64_t kv_heads = 1, group = 1;
  visibility visible;

  [[nodiscard]] std::int64_t parts(std::int64_t seq) const noexcept {
    return divide_up(kv_heads, sequences[seq].unit_heads);
  }
  [[nodiscard]] std::int64_t tiles(std::int64_t seq) const noexcept {
    return divide_up(sequences[seq].q_len, sequences[seq].unit_tokens);
  }
  [[nodiscard]] unit unit_at(const cursor& c) const noexcept {
    const sequence_work& w = sequences[c.seq];
    unit u;
    u.seq = c.seq;
    u.head = c.part * w.unit_heads;
    u.heads = std::min(w.unit_heads, kv_heads - u.head);
    u.token = c.tile * w.unit_tokens;
    u.tokens = std::min(w.unit_tokens, w.q_len - u.token);
    return u;
  }
  [[nodiscard]] visible_keys keys_of(const unit& u) const noexcept {
    const sequence_work& w = sequences[u.seq];
    const std::int64_t first = w.q_start + u.token;
    return visible.of_any(first, first + u.tokens - 1, w.kv_len);
  }
  /// KV heads from a unit to the next one of its sequence; -1 where none follows.
  [[nodiscard]] std::int64_t heads_on(const unit& u) const noexcept {
    if (u.token + u.tokens < sequences[u.seq].q_len) return 0;
    return u.head + u.heads < kv_heads ? u.heads : -1;
  }
  /// Cells of a unit; one where it sees nothing, so that its rows are still written.
  [[nodiscard]] std::int64_t cells(const unit& u) const noexcept {
    return std::max<std::int64_t>(chunks_of(keys_of(u)).size(), 1);
  }
  /// Cost of one cell: its rows' arithmetic, and reading its keys, which costs about as much as 8 rows.
  [[nodiscard]] std::int64_t cell_cost(const unit& u) const noexcept { return u.heads * (u.tokens * group + 8); }

  [[nodiscard]] cursor begin() const noexcept { return settle({}); }
  [[nodiscard]] cursor end() const noexcept { return {batch, 0, 0, 0}; }
  [[nodiscard]] cursor next_unit(cursor c) const noexcept {
    c.cell = 0;
    if (++c.tile == tiles(c.seq)) {
      c.tile = 0;
      if (++c.part == parts(c.seq)) {
        c.part = 0;
        ++c.seq;
      }
    }
    return settle(c);
  }

  /// Cuts the line: starts[i] ... starts[i + 1] is share i, for shares + 1 entries.
  void share(cursor* starts, std::int64_t shares) const noexcept {
    std::int64_t total = 0;
    for (cursor c = begin(); c != end(); c = next_unit(c)) {
      const unit u = unit_at(c);
      total += cells(u) * cell_cost(u);
    }
    std::int64_t next = 0, before = 0;
    for (cursor c = begin(); c != end(); c = next_unit(c)) {
      const unit u = unit_at(c);
      const std::int64_t n = cells(u), cost = cell_cost(u);
      for (; next < shares; ++next) {
        const std::int64_t cell = (total / shares * next + total % shares * next / shares - before + cost / 2) / cost;
        if (cell >= n) break;
        starts[next] = c;
        starts[next].cell = std::max<std::int64_t>(cell, 0);
      }
      before += n * cost;
    }
    for (; next <= shares; ++next) starts[next] = end();
  }

 private:
  // Skips sequences without queries.
  [[nodiscard]] cursor settle(cursor c) const noexcept {
    while (c.seq < batch && c.tile == 0 && c.part == 0 && sequences[c.seq].q_len == 0) ++c.seq;
    return c;
  }
};

}  // namespace detail

GQA_NAMESPACE_END
