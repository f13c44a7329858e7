// The end of a unit: its pending states become one, sinks join, rows are written. Units that lie in several shares are
// ended in a second pass, each item taking some of the rows.
#pragma once

#include <algorithm>

#include "inputs.hpp"
#include "work.hpp"
#include "workspace.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Writes rows [first, last) of unit `u` from `state`, whose row 0 is the unit's row 0; null pointers: nobody saw a
/// key.
inline void finish_rows(const step_inputs& in, const unit& u, std::int64_t group, const state_rows* state,
                        std::int64_t first, std::int64_t last, float* scratch_row) noexcept {
  for (std::int64_t r = first; r < last; ++r) {
    const std::int64_t head_rows = u.tokens * group;
    const std::int64_t token = u.token + r % head_rows / group;
    const std::int64_t head = (u.head + r / head_rows) * group + r % group;
    float* o = state ? state->o + r * state->o_stride : scratch_row;
    in.kernels->finish(o, state ? state->m[r] : in.minus_inf, state ? state->l[r] : 0.0f,
                       in.sinks ? in.sinks + head : nullptr, in.v_head_dim, in.out_row(u.seq, token, head),
                       in.lse_of(u.seq, token, head));
  }
}

/// Ends a unit whose states all lie in one region.
inline void finish_unit(const step_inputs& in, const work_line& line, const unit& u, scratch& work,
                        int region) noexcept {
  pending_states& p = *work.pending[region];
  const std::int64_t rows = u.heads * u.tokens * line.group;
  merge_ready(p, no_chunk, no_chunk, [&](std::int64_t into, std::int64_t from) noexcept {
    in.kernels->merge(work.state(region, into), work.state(region, from), rows, in.v_stride);
  });
  const state_rows state = work.state(region, 0);
  finish_rows(in, u, line.group, p.count ? &state : nullptr, 0, rows, work.values);
}

/// Ends rows [item * rows / items, ...) of every unit that lies in several shares.
class split_units {
 public:
  split_units(const step_inputs& in, const work_line& line, const cursor* starts, std::int64_t shares,
              std::byte* workspace, const workspace_shape& shape) noexcept
      : in_(in), line_(line), starts_(starts), shares_(shares), workspace_(workspace), shape_(shape) {}

  void finish(std::int64_t item) const noexcept {
    for (std::int64_t s = 1; s < shares_; ++s) {
      if (!continues(s) || (s > 1 && continues(s - 1) && starts_[s].same_unit(starts_[s - 1]))) continue;
      std::int64_t last = s;
      while (last + 1 < shares_ && continues(last + 1) && starts_[last + 1].same_unit(starts_[s])) ++last;
      finish_unit_of(s, last, item);
    }
  }

 private:
  /// Whether share s begins inside a unit.
  [[nodiscard]] bool continues(std::int64_t s) const noexcept { return starts_[s].cell != 0; }

  /// The unit that shares first - 1 ... last hold.
  void finish_unit_of(std::int64_t first, std::int64_t last, std::int64_t item) const noexcept {
    const unit u = line_.unit_at(starts_[first]);
    const std::int64_t rows = u.heads * u.tokens * line_.group;
    const std::int64_t from = rows * item / shares_, to = rows * (item + 1) / shares_;
    if (from == to) return;
    pending_states merged;
    state_rows slots[sizeof merged.chunk / sizeof merged.chunk[0]];
    const auto merge_two = [&](std::int64_t into, std::int64_t other) noexcept {
      in_.kernels->merge(slots[into], slots[other], to - from, in_.v_stride);
    };
    for (std::int64_t s = first - 1; s <= last; ++s) {
      const scratch work(workspace_, shape_, s);
      const int region = s < first ? 1 : 0;
      const pending_states& p = *work.pending[region];
      for (std::int64_t i = 0; i < p.count; ++i) {
        merge_ready(merged, no_chunk, p.chunk[i], merge_two);
        slots[merged.count] = work.state(region, i, from);
        merged.chunk[merged.count++] = p.chunk[i];
      }
    }
    merge_ready(merged, no_chunk, no_chunk, merge_two);
    state_rows state = slots[0];
    state.o -= from * state.o_stride;
    state.m -= from;
    state.l -= from;
    scratch own(workspace_, shape_, item);
    finish_rows(in_, u, line_.group, merged.count ? &state : nullptr, from, to, own.values);
  }

  const step_inputs& in_;
  const work_line& line_;
  const cursor* starts_;
  const std::int64_t shares_;
  std::byte* workspace_;
  const workspace_shape& shape_;
};

}  // namespace detail

GQA_NAMESPACE_END
