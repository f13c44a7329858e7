// The queries of a unit as its kernels want them, head by head: in panels of row_tile rows where keys lie in tiles or
// are packed, then by virtual lane; else in tiles for dot products.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernel/table.hpp"
#include "../model/arithmetic.hpp"
#include "inputs.hpp"
#include "work.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// What the queries of a unit are multiplied with: keys as rows; keys in dim-major tiles, as they lie; packed keys.
enum class score_form { dot, tiles, packed };

class unit_queries {
 public:
  /// Of u.tokens * group rows of each KV head, into `q` (workspace.hpp says how much).
  unit_queries(const step_inputs& in, const unit& u, std::int64_t group, score_form form, float* q) noexcept
      : in_(in), unit_(u), group_(group), rows_(u.tokens * group),
        head_floats_((form == score_form::dot ? rows_ : round_up(rows_, in.kernels->row_tile)) * in.padded_dim), q_(q) {
    for (std::int64_t h = 0; h < u.heads; ++h) {
      if (form == score_form::dot) load_tiles(h);
      else pack_panels(h, form == score_form::packed);
    }
  }

  /// Of KV head `head` of the unit, from row `first` on, which begins a tile.
  [[nodiscard]] float* of(std::int64_t head, std::int64_t first = 0) const noexcept {
    return q_ + head * head_floats_ + first * in_.padded_dim;
  }

 private:
  [[nodiscard]] const void* row(std::int64_t head, std::int64_t r) const noexcept {
    return in_.q_row(unit_.seq, unit_.token + r / group_, (unit_.head + head) * group_ + r % group_);
  }

  void pack_panels(std::int64_t head, bool by_lane) const noexcept {
    const std::int64_t n = in_.kernels->row_tile, last = rows_ - 1;
    const void *rows[max_row_tile], *ahead[max_row_tile];
    const auto look_ahead = [&](std::int64_t first) noexcept {
      for (std::int64_t r = 0; r < n; ++r) ahead[r] = row(head, std::min(first + r, last));
    };
    look_ahead(0);
    for (std::int64_t first = 0; first < rows_; first += n) {
      std::copy_n(ahead, n, rows);
      look_ahead(first + n);
      in_.kernels->pack_queries(rows, ahead, std::min(n, rows_ - first), in_.head_dim, in_.padded_dim, by_lane,
                                of(head, first));
    }
  }

  void load_tiles(std::int64_t head) const noexcept {
    for (std::int64_t first = 0, n; first < rows_; first += n) {
      n = dot_tile_rows(rows_, first, in_.kernels->dot_rows);
      for (std::int64_t r = 0; r < n; ++r)
        in_.kernels->load_query(row(head, first + r), in_.head_dim, in_.padded_dim, of(head, first) + r * score_lanes,
                                n);
    }
  }

  const step_inputs& in_;
  const unit unit_;
  const std::int64_t group_, rows_, head_floats_;
  float* const q_;
};

}  // namespace detail

GQA_NAMESPACE_END
