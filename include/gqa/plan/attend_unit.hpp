// The walk of one unit over its cache: for each chunk, for each block of 64 keys: scores, modifiers, weights, P . V.
// Plain baseline code: it finds where keys lie and calls the kernels of kernel/table.hpp on tiles in memory.
#pragma once

#include <algorithm>
#include <cstring>

#include "../kernel/table.hpp"
#include "../kv/layout.hpp"
#include "block.hpp"
#include "first_rows.hpp"
#include "inputs.hpp"
#include "page_prefetch.hpp"
#include "reading_order.hpp"
#include "unit_queries.hpp"
#include "work.hpp"
#include "workspace.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

template <kv_layout Layout>
class unit_walk {
 public:
  unit_walk(const step_inputs& in, const work_line& line, const Layout& layout, const unit& u, scratch& work) noexcept
      : in_(in), layout_(layout), unit_(u), seq_(line.sequences[u.seq]), work_(work), keys_(line.keys_of(u)),
        chunks_(chunks_of(keys_)), heads_on_(line.heads_on(u)), visible_(line.visible),
        head_rows_(u.tokens * line.group), group_(line.group), rows_(u.heads * head_rows_),
        tiles_(layout.order() == key_order::tiles), form_(form_of(in)), pack_values_(packing_pays(in, layout)),
        order_(order_of(shape_of(in, layout))), pages_(layout, in, u, order_), queries_(in, u, group_, form_, work.q) {}

  /// Cells [first, last) of the unit; their states are left pending in `region`.
  void run(std::int64_t first, std::int64_t last, int region) noexcept {
    pending_states& pending = *work_.pending[region];
    pending.count = 0;
    const std::int64_t left = first > 0 ? chunks_[first - 1] : no_chunk;
    const auto merge_two = [&](std::int64_t into, std::int64_t from) noexcept {
      in_.kernels->merge(work_.state(region, into), work_.state(region, from), rows_, in_.v_stride);
    };
    last = std::min(last, chunks_.size());  // a unit that sees nothing has one cell and no chunk
    block_list blocks(layout_, in_, unit_.seq, keys_, chunks_, first, last, order_.together, heads_on_);
    pages_.start(positions_of(keys_, chunks_, first, last));
    if (blocks.valid()) prefetch_first_rows(in_, unit_, blocks[0], order_);
    for (std::int64_t cell = first; cell < last; ++cell) {
      merge_ready(pending, left, chunks_[cell], merge_two);
      state_ = work_.state(region, pending.count);
      clear_state();
      for (; blocks.valid() && blocks.chunk() == chunks_[cell]; blocks.advance()) {
        pages_.reach(blocks.end_position());
        attend_blocks(blocks);
      }
      in_.kernels->fold_sums(work_.l, rows_, state_.l);
      pending.chunk[pending.count++] = chunks_[cell];
    }
  }

 private:
  [[nodiscard]] score_form form_of(const step_inputs& in) const noexcept {
    if (head_rows_ > in.kernels->unpacked_rows) return score_form::packed;
    return tiles_ ? score_form::tiles : score_form::dot;
  }

  /// Values are read once a row tile. Bringing them together first pays for many tiles, the sooner where it widens
  /// them, and soonest where rows lie in different memory pages, which conflict in the cache's sets.
  [[nodiscard]] bool packing_pays(const step_inputs& in, const Layout& layout) const noexcept {
    const bool apart =
        unit_.heads == 1 && layout.v_strides().token * in.v_bytes >= 2048 && head_rows_ > 2 * in.kernels->row_tile;
    return apart || head_rows_ > (in.v_bytes < 4 ? 8 : 16) * in.kernels->row_tile;
  }

  [[nodiscard]] unit_shape shape_of(const step_inputs& in, const Layout& layout) const noexcept {
    const auto pitch = [](kv_strides s, std::int64_t dim, std::int64_t bytes) noexcept {
      return row_pitch{bytes, dim * bytes, s.head * bytes, s.token * bytes};
    };
    return {in.kernels->memory,
            in.processor,
            unit_.heads,
            head_rows_,
            pitch(layout.k_strides(), in.head_dim, in.k_bytes),
            pitch(layout.v_strides(), in.v_head_dim, in.v_bytes),
            layout.order(),
            form_ == score_form::packed,
            in.v_head_dim <= in.kernels->value_columns,
            head_rows_ <= in.kernels->one_pass_rows};
  }

  /// n rows of `head`, each `run` of them `stride` apart, and what to prefetch meanwhile; `at` finds the rows of a
  /// visit.
  template <class At>
  [[nodiscard]] row_set rows_at(const reading_pace& pace, std::int64_t head, std::int64_t n, std::int64_t stride,
                                std::int64_t run, const At& at) const noexcept {
    row_set rows{at({head, 0}), {}, n, stride, run};
    if (pace.follows_memory()) {
      const row_table next = at({0, pace.step});
      rows.ahead = pace.next_of_memory(head, unit_.heads, next.base + *next.offsets);
    } else {
      rows.ahead = {at(pace.next_of_use(head, unit_.heads)), pace.pitch.token, 1, pace.first_level};
    }
    return rows;
  }
  [[nodiscard]] row_set keys(const reading_pace& pace, const key_block& b, std::int64_t head, std::int64_t c,
                             std::int64_t n) const noexcept {
    return rows_at(pace, head, n, b.k_stride, b.run, [&](const visit& v) noexcept -> row_table {
      return {in_.key_head(unit_.head + v.head), b.k + c + v.token};
    });
  }
  [[nodiscard]] row_set tiles(const key_block& b, std::int64_t head, std::int64_t c, std::int64_t n) const noexcept {
    const auto at = [&](const visit& v) noexcept -> row_table {
      return {in_.key_head(unit_.head + v.head), b.k_tiles + (c + v.token) / tile_tokens};
    };
    reading_pace pace = order_.keys;
    const bool apart = b.run < pace.step || n < pace.step;  // a call reads no whole block, or none lies in one piece
    if (apart && pace.follows_memory()) pace.prefetch = prefetch_order::of_use;
    if (!pace.follows_memory()) return rows_at(pace, head, n, 0, 1, at);
    const row_table next = at({head, pace.step});
    return {at({head, 0}), pace.next_tiles(next.base + *next.offsets), n, 0, 1};
  }
  [[nodiscard]] row_set values(const reading_pace& pace, const key_block& b, std::int64_t head, std::int64_t c,
                               std::int64_t n) const noexcept {
    return rows_at(pace, head, n, b.v_stride, b.run, [&](const visit& v) noexcept -> row_table {
      return {in_.value_head(unit_.head + v.head), b.v + c + v.token};
    });
  }

  /// One value, of any column.
  [[nodiscard]] row_set value(const key_block& b, std::int64_t head, std::int64_t c) const noexcept {
    const std::int64_t inside = b.v_stride != 0 ? c % row_group : 0;
    row_set one = values(order_.values.within(b.run), b, head, c - inside, 1);
    one.base += inside * b.v_stride;
    return one;
  }

  void clear_state() noexcept {
    std::memset(state_.o, 0, static_cast<std::size_t>(rows_ * state_.o_stride) * sizeof(float));
    std::memset(work_.l, 0, static_cast<std::size_t>(rows_ * sum_lanes) * sizeof(float));
    for (std::int64_t r = 0; r < rows_; ++r) state_.m[r] = in_.minus_inf;
  }

  void attend_blocks(const block_list<Layout>& blocks) noexcept {
    const std::int64_t tile = rows_ * block_keys;
    bool even[chunk_blocks];
    s_ = work_.s;
    for (std::int64_t i = 0; i < blocks.size(); ++i, s_ += tile) {
      even[i] = every_row_alike(blocks[i]);
      if (form_ == score_form::dot) score_by_rows(blocks[i]);
      else score_by_panels(blocks[i], even[i]);
    }
    s_ = work_.s;
    for (std::int64_t i = 0; i < blocks.size(); ++i, s_ += tile) apply_scores(blocks[i], even[i]);
  }

  void apply_scores(const key_block& b, bool even) noexcept {
    modify(b);
    const bool hidden = hide(b, even);
    in_.kernels->soften({s_, rows_, b.begin, b.end, state_.m, work_.l, state_.o, state_.o_stride, hidden});
    weigh(b, even);
  }

  /// Whether all rows see the same keys of the block, masks aside: what the first and the last query see bounds the
  /// rest.
  [[nodiscard]] bool every_row_alike(const key_block& b) const noexcept {
    if (unit_.tokens == 1) return true;
    const std::int64_t first = seq_.q_start + unit_.token, last = first + unit_.tokens - 1;
    const visible_keys x = visible_.of(first, seq_.kv_len), y = visible_.of(last, seq_.kv_len);
    for (const interval& seen : b.seen)
      for (const visible_keys& keys : {x, y})
        if (!seen.empty() && !keys.sees_all(b.position + seen.begin, b.position + seen.end)) return false;
    return true;
  }

  [[nodiscard]] float* scores(std::int64_t head) const noexcept { return s_ + head * head_rows_ * block_keys; }

  void score_by_rows(const key_block& b) noexcept {
    const reading_pace pace = order_.keys.within(b.run);
    for (std::int64_t c = b.begin; c < b.end; c += pace.step)
      for (std::int64_t h = 0; h < unit_.heads; ++h) {
        pages_.ask_some();
        in_.kernels->score_dot({queries_.of(h), head_rows_, keys(pace, b, h, c, std::min(pace.step, b.end - c)),
                                in_.head_dim, in_.scale, scores(h) + c, in_.processor.halves_registers,
                                order_.in_turn});
      }
  }

  void score_by_panels(const key_block& b, bool even) noexcept {
    const kernel_table& k = *in_.kernels;
    const bool packed = form_ == score_form::packed;
    const std::int64_t of_a_call = packed ? 2 * tile_tokens : order_.keys.step;
    const std::int64_t together = even ? of_a_call : tile_tokens;  // fewer leave out more that no row sees
    for (std::int64_t h = 0; h < unit_.heads; ++h) {
      for (std::int64_t c = b.begin; c < b.end; c += together) {
        const std::int64_t n = std::min(together, b.end - c);
        const std::int64_t first = even ? 0 : first_row(b, c);
        if (first >= head_rows_) continue;
        score_args a{queries_.of(h, first),
                     head_rows_ - first,
                     {},
                     in_.head_dim,
                     in_.scale,
                     scores(h) + first * block_keys + c,
                     in_.processor.halves_registers};
        if (packed) {
          if (tiles_) k.pack_tiles(tiles(b, h, c, n), in_.head_dim, work_.panels);
          else k.pack_rows(keys(order_.keys, b, h, c, n), in_.head_dim, work_.panels);
          const std::int64_t offsets[2] = {0, in_.padded_dim * tile_tokens * 4};
          a.keys = {{reinterpret_cast<const char*>(work_.panels), offsets}, {}, n};
          k.score_panels(a);
        } else {
          pages_.ask_some();
          a.keys = tiles(b, h, c, n);
          a.first_lines = order_.keys.prefetch == prefetch_order::of_use_by_pages;
          k.score_tiles(a);
        }
      }
    }
  }

  /// First row, at a register tile's start, that may see column c or a later one of its tile: earlier queries do not.
  [[nodiscard]] std::int64_t first_row(const key_block& b, std::int64_t c) const noexcept {
    if (!visible_.causal) return 0;
    const std::int64_t token = std::max<std::int64_t>(b.position + c - (seq_.q_start + unit_.token), 0);
    return token * group_ / in_.kernels->row_tile * in_.kernels->row_tile;
  }

  template <class F>
  void for_each_row(const F& f) noexcept {
    for (std::int64_t h = 0; h < unit_.heads; ++h)
      for (std::int64_t r = 0; r < head_rows_; ++r)
        f(unit_.token + r / group_, (unit_.head + h) * group_ + r % group_, scores(h) + r * block_keys);
  }

  void modify(const key_block& b) noexcept {
    const kernel_table& k = *in_.kernels;
    if (!in_.modifies) return;
    for_each_row([&](std::int64_t token, std::int64_t head, float* s) noexcept {
      if (in_.softcap > 0) k.softcap(s + b.begin, b.end - b.begin, in_.softcap, in_.inverse_softcap);
      if (in_.alibi_slopes)
        k.alibi(s + b.begin, b.end - b.begin, in_.alibi_slopes[head], b.position + b.begin - (seq_.q_start + token));
      if (in_.bias)
        for (const interval& seen : b.seen)
          k.add_bias(s + seen.begin, seen.end - seen.begin,
                     in_.bias + in_.score_offset(in_.bias_layout, unit_.seq, head, token, b.position + seen.begin),
                     in_.bias_layout.key);
    });
  }

  /// Writes -inf over every score that its row does not see. Returns whether there may be any such score.
  bool hide(const key_block& b, bool even) noexcept {
    if (even && b.full() && !in_.mask && !in_.bias) return false;
    for_each_row([&](std::int64_t token, std::int64_t head, float* s) noexcept {
      const visible_keys v = visible_.of(seq_.q_start + token, seq_.kv_len);
      const auto column = [&](std::int64_t position) {
        return std::clamp<std::int64_t>(position - b.position, b.begin, b.end);
      };
      std::fill(s + std::min(column(v.sink_end), column(v.begin)), s + column(v.begin), in_.minus_inf);
      std::fill(s + std::max(column(v.end), column(v.begin)), s + b.end, in_.minus_inf);
      if (!in_.mask) return;
      for (const interval& seen : b.seen) {
        const std::uint8_t* mask = in_.mask + in_.score_offset(in_.mask_layout, unit_.seq, head, token, b.position);
        for (std::int64_t c = seen.begin; c < seen.end; ++c)
          if (!mask[c * in_.mask_layout.key]) s[c] = in_.minus_inf;
      }
    });
    return true;
  }

  void weigh(const key_block& b, bool even) noexcept {
    reading_pace pace = order_.values.within(b.run);
    if (!even) pace.step = std::min(pace.step, tile_tokens);
    for (const interval& seen : b.seen) {
      // Rows that see different keys share a tile only where 0 * value is 0.
      const bool alike = even && !in_.mask && !in_.bias;
      for (std::int64_t h = 0; h < unit_.heads && !alike; ++h) {
        if (!in_.kernels->values_finite(values(pace, b, h, seen.begin, seen.end - seen.begin), in_.v_head_dim))
          return weigh_row_by_row(b);
      }
    }
    for (const interval& seen : b.seen) {
      for (std::int64_t c = seen.begin, n; c < seen.end; c += n) {
        n = std::min(round_up(c + 1, pace.step), seen.end) - c;
        for (std::int64_t h = 0; h < unit_.heads; ++h) weigh_rows(pace, b, h, even ? 0 : first_row(b, c), c, n);
      }
    }
  }

  void weigh_rows(const reading_pace& pace, const key_block& b, std::int64_t h, std::int64_t first, std::int64_t c,
                  std::int64_t n) noexcept {
    const kernel_table& k = *in_.kernels;
    if (first >= head_rows_) return;
    pages_.ask_some();
    const std::int64_t row = h * head_rows_ + first;
    weigh_args a{s_ + row * block_keys + c,        head_rows_ - first, values(pace, b, h, c, n), in_.v_head_dim,
                 state_.o + row * state_.o_stride, state_.o_stride};
    if (!pack_values_) return k.weigh(a);
    const std::int64_t stride = packed_stride(in_.v_stride);
    k.pack_values(a.values, in_.v_head_dim, work_.values, stride);
    const std::int64_t first_row_offset = 0;
    a.values = {{reinterpret_cast<const char*>(work_.values), &first_row_offset}, {}, n, stride * 4, block_keys};
    k.weigh_packed(a);
  }

  /// The same sums, each row over the keys it sees only: for tiles where some value is infinite or NaN.
  void weigh_row_by_row(const key_block& b) noexcept {
    for (std::int64_t row = 0; row < rows_; ++row)
      for (const interval& seen : b.seen) {
        const float* p = s_ + row * block_keys;
        for (std::int64_t c = seen.begin; c < seen.end; ++c)
          if (!is_hidden(p[c]))
            in_.kernels->weigh({p + c, 1, value(b, row / head_rows_, c), in_.v_head_dim,
                                state_.o + row * state_.o_stride, state_.o_stride});
      }
  }

  /// Weights of hidden keys are -0; +0 is a key that is seen, and weighs too little for a number.
  [[nodiscard]] static bool is_hidden(float weight) noexcept {
    std::uint32_t bits;
    std::memcpy(&bits, &weight, sizeof bits);
    return bits == 0x80000000u;
  }

  const step_inputs& in_;
  const Layout& layout_;
  const unit unit_;
  const sequence_work& seq_;
  scratch& work_;
  const visible_keys keys_;
  const chunk_list chunks_;
  const std::int64_t heads_on_;
  const visibility visible_;
  const std::int64_t head_rows_, group_, rows_;
  const bool tiles_;
  const score_form form_;
  const bool pack_values_;
  const reading_order order_;
  page_prefetch<Layout> pages_;
  const unit_queries queries_;
  float* s_ = nullptr;  ///< S of the block at hand
  state_rows state_{};
};

}  // namespace detail

GQA_NAMESPACE_END
