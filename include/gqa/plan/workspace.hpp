// The caller's workspace, one slice a share. Bytes = shares * slice + 64, where with r = rows a unit can have
// (at most max(256, group_size)), d = head_dim and v = v_head_dim rounded up to 8 and 16,
//
//   slice  = 4 * (2 * states * r * (v + 2) + (r + 16 * min(r, kv_heads)) * d + 16 r + 64 (s + d + v + 16)) + headers
//
//   states = 2 * bit_width(chunks of max_kv_len) + 2,  s = max(r, 4 min(r, 16))
//
// that is O(shares * rows * v_head_dim * log2(chunks)).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../base/checked.hpp"
#include "../kernel/table.hpp"
#include "../model/merge_tree.hpp"
#include "inputs.hpp"
#include "reading_order.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Pending states of one unit, in chunk order.
struct pending_states {
  std::int64_t count = 0;
  std::int64_t chunk[2 * 64 + 2] = {};  ///< some chunk of each state; neighbours tell the level at which they meet
};

struct workspace_shape {
  std::int64_t shares = 1;
  std::int64_t rows = 0;   ///< r above
  std::int64_t heads = 1;  ///< KV heads a unit can walk over
  std::int64_t padded_dim = 0, v_stride = 0;
  std::int64_t states = 0;

  [[nodiscard]] checked state_floats() const noexcept { return checked(rows) * (v_stride + 2); }
  /// Each head's rows go up to a whole row tile.
  [[nodiscard]] checked query_floats() const noexcept {
    return (checked(rows) + 16 * std::min(rows, heads)) * padded_dim;
  }
  [[nodiscard]] std::int64_t score_rows() const noexcept {
    return std::max(rows, std::min(rows, few_rows) * chunk_blocks);
  }
  [[nodiscard]] checked slice_bytes() const noexcept {
    const checked floats = checked(2) * states * state_floats() + query_floats() + checked(rows) * sum_lanes +
                           checked(block_keys) * (score_rows() + padded_dim + packed_stride(v_stride));
    const checked bytes = floats * 4 + 2 * static_cast<std::int64_t>(sizeof(pending_states)) + 63;
    return checked(bytes.value / 64 * 64) + checked(bytes.overflowed ? INT64_MAX : 0);
  }
  [[nodiscard]] checked bytes() const noexcept { return slice_bytes() * shares + 64; }
};

/// One share's slice, taken apart. Regions: [0] for a unit begun by an earlier share, [1] for all others.
struct scratch {
  pending_states* pending[2];
  float* states[2];
  float* q;
  float* s;       ///< [score rows][block_keys]
  float* l;       ///< [rows][sum_lanes]
  float* panels;  ///< [block_keys / 16][padded_dim * 16]
  float* values;  ///< [block_keys][packed_stride]
  workspace_shape shape;

  scratch(std::byte* workspace, const workspace_shape& w, std::int64_t share) noexcept : shape(w) {
    const auto address = reinterpret_cast<std::uintptr_t>(workspace);
    std::byte* p = workspace + ((64 - address % 64) % 64) + share * w.slice_bytes().value;
    float* f = reinterpret_cast<float*>(p);
    const auto take = [&f](std::int64_t n) {
      float* const here = f;
      f += n;
      return here;
    };
    panels = take(block_keys * w.padded_dim);
    values = take(block_keys * packed_stride(w.v_stride));
    q = take(w.query_floats().value);
    s = take(w.score_rows() * block_keys);
    l = take(w.rows * sum_lanes);
    for (float*& region : states) region = take(w.states * w.state_floats().value);
    auto* headers = reinterpret_cast<pending_states*>(f);  // every part before is a multiple of 8 bytes
    pending[0] = headers;
    pending[1] = headers + 1;
  }

  /// Slot `i` of a region, from row `row` on.
  [[nodiscard]] state_rows state(int region, std::int64_t i, std::int64_t row = 0) const noexcept {
    float* base = states[region] + i * shape.state_floats().value;
    return {base + row * shape.v_stride, base + shape.rows * shape.v_stride + row,
            base + shape.rows * (shape.v_stride + 1) + row, shape.v_stride};
  }
};

/// One unit's states from several regions, in chunk order, merged as the tree wants: neighbours first.
/// `left` is the chunk before the first state that somebody else holds (no_chunk: none), `next` the one that follows.
template <class MergeTwo>
void merge_ready(pending_states& p, std::int64_t left, std::int64_t next, const MergeTwo& merge_two) noexcept {
  while (p.count >= 2) {
    const std::int64_t b = p.chunk[p.count - 1], a = p.chunk[p.count - 2];
    const std::int64_t before = p.count >= 3 ? p.chunk[p.count - 3] : left;
    const int level = join_level(a, b);
    if (level >= join_level(b, next) || level >= join_level(before, a)) return;
    merge_two(p.count - 2, p.count - 1);
    --p.count;
  }
}

}  // namespace detail

GQA_NAMESPACE_END
