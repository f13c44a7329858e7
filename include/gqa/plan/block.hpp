// The blocks of 64 keys that a unit looks at, with the byte offsets of the keys and values in them: runs end here, so
// that neither kernels nor the walk know pages. Several blocks of one chunk may be current at once; offsets of the
// block that follows stand behind theirs, for prefetch: where a unit ends, those of the sequence's next unit.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kv/layout.hpp"
#include "../model/arithmetic.hpp"
#include "../model/merge_tree.hpp"
#include "../model/visibility.hpp"
#include "inputs.hpp"
#include "work.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// One block. Columns count from its first position, a multiple of 64.
struct key_block {
  std::int64_t position = 0;  ///< of column 0
  std::int64_t chunk = no_chunk;
  interval seen[2];                 ///< columns that some row of the unit sees
  std::int64_t begin = 0, end = 0;  ///< columns to compute: what is seen, rounded out to whole tiles of 16
  // Byte offsets for columns 0 ... 63 of this block, then of those that follow. Where strides are 0, columns nobody
  // sees repeat one that somebody does.
  std::int64_t* k = nullptr;  ///< rows; unused where K lies in tiles
  std::int64_t* v = nullptr;
  std::int64_t* k_tiles = nullptr;  ///< dim-major tiles, 4 and 4
  /// Bytes from row to row where every column of [begin, end) is seen and each `run` of them lies evenly spaced: only
  /// each row_group's first offset is set then. Otherwise 0.
  std::int64_t k_stride = 0, v_stride = 0;
  std::int64_t run = 1;  ///< at most block_keys; runs start at multiples of it

  [[nodiscard]] bool full() const noexcept {
    const std::int64_t columns =
        std::max<std::int64_t>(seen[0].end - seen[0].begin, 0) + std::max<std::int64_t>(seen[1].end - seen[1].begin, 0);
    return columns == end - begin;
  }
};

template <kv_layout Layout>
class block_list {
 public:
  /// Blocks of chunks[first_cell] ... chunks[last_cell - 1], up to `together` of one chunk at a time. The unit that
  /// follows is taken to begin where this one does, `heads_on` KV heads further; none does where that is negative.
  block_list(const Layout& layout, const step_inputs& in, std::int64_t seq, const visible_keys& keys,
             const chunk_list& chunks, std::int64_t first_cell, std::int64_t last_cell, std::int64_t together,
             std::int64_t heads_on) noexcept
      : layout_(layout), in_(in), seq_(seq), keys_(keys), chunks_(chunks), next_{first_cell, 0}, last_cell_(last_cell),
        together_(together), heads_on_(heads_on), tiles_(layout.order() == key_order::tiles) {
    fill(0);
    gather();
  }

  [[nodiscard]] bool valid() const noexcept { return chunk() != no_chunk; }
  [[nodiscard]] std::int64_t chunk() const noexcept { return blocks_[0].chunk; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] std::int64_t end_position() const noexcept { return blocks_[size_ - 1].position + block_keys; }
  [[nodiscard]] const key_block& operator[](std::int64_t i) const noexcept { return blocks_[i]; }

  void advance() noexcept {
    blocks_[0] = blocks_[size_];
    std::copy_n(k_ + size_ * block_keys, block_keys, k_);
    std::copy_n(v_ + size_ * block_keys, block_keys, v_);
    std::copy_n(k_tiles_ + size_ * tiles_in_block, tiles_in_block, k_tiles_);
    place(blocks_[0], 0);
    gather();
  }

 private:
  static constexpr std::int64_t tiles_in_block = block_keys / tile_tokens;
  struct place_in_unit {
    std::int64_t cell, block;  // of the cell's chunk
  };

  /// The blocks that go with the first one, and the one that follows them.
  void gather() noexcept {
    if (!valid()) return;
    for (size_ = 1;; ++size_) {
      fill(size_);
      if (size_ == together_ || blocks_[size_].chunk != chunk()) return;
    }
  }

  void fill(std::int64_t i) noexcept {
    find(blocks_[i], next_);
    place(blocks_[i], i);
    if (blocks_[i].chunk != no_chunk) locate(blocks_[i]);
    else if (i > 0 && last_cell_ == chunks_.size() && heads_on_ >= 0) locate_in_next_unit(i);
  }

  /// Offsets of the next unit's first block in place of block i's, and behind the columns of the last one, i - 1, which
  /// may end early: each visit looks for what comes next so many columns on.
  void locate_in_next_unit(std::int64_t i) noexcept {
    key_block first;
    place_in_unit start{0, 0};
    find(first, start);
    if (first.chunk == no_chunk) return;
    place(first, i);
    locate_each(first);
    locate_tiles(first);
    const std::int64_t k = heads_on_ * layout_.k_strides().head * in_.k_bytes;
    const std::int64_t v = heads_on_ * layout_.v_strides().head * in_.v_bytes;
    for (std::int64_t c = 0; c < block_keys; ++c) {
      first.k[c] += k;
      first.v[c] += v;
    }
    for (std::int64_t t = 0; t < tiles_in_block; ++t) first.k_tiles[t] += k;
    const key_block& last = blocks_[i - 1];
    for (std::int64_t c = last.end; c < block_keys; ++c) {
      last.k[c] = first.k[c - last.end];
      last.v[c] = first.v[c - last.end];
    }
    for (std::int64_t t = last.end / tile_tokens; t < tiles_in_block; ++t)
      last.k_tiles[t] = first.k_tiles[t - last.end / tile_tokens];
  }

  /// Lets b have the offsets of the i-th block.
  void place(key_block& b, std::int64_t i) noexcept {
    b.k = k_ + i * block_keys;
    b.v = v_ + i * block_keys;
    b.k_tiles = k_tiles_ + i * tiles_in_block;
  }

  /// The block from `at` on in which somebody sees a key, and behind which `at` is left.
  void find(key_block& b, place_in_unit& at) const noexcept {
    b = {};
    for (; at.cell < last_cell_; ++at.cell, at.block = 0)
      while (at.block < chunk_blocks) {
        b.position = chunks_[at.cell] * chunk_tokens + at.block++ * block_keys;
        const auto columns = [&](std::int64_t from, std::int64_t to) {
          return interval{std::clamp<std::int64_t>(from - b.position, 0, block_keys),
                          std::clamp<std::int64_t>(to - b.position, 0, block_keys)};
        };
        b.seen[0] = columns(0, keys_.sink_end);
        b.seen[1] = columns(keys_.begin, keys_.end);
        if (b.seen[0].empty()) std::swap(b.seen[0], b.seen[1]);
        if (b.seen[0].empty()) continue;
        b.begin = b.seen[0].begin / tile_tokens * tile_tokens;
        b.end = round_up(b.seen[1].empty() ? b.seen[0].end : b.seen[1].end, tile_tokens);
        b.chunk = chunks_[at.cell];
        return;
      }
    b.chunk = no_chunk;
  }

  void locate(key_block& b) noexcept {
    if (locate_groups(b)) {
      b.k_stride = k_token();
      b.v_stride = v_token();
    } else {
      b.run = 1;
      locate_each(b);
    }
    locate_tiles(b);
  }

  void locate_tiles(const key_block& b) noexcept {
    if (!tiles_) return;
    std::fill_n(b.k_tiles, tiles_in_block, tile_offset(b.position + b.seen[0].begin));
    for (const interval& seen : b.seen)
      for (std::int64_t c = seen.begin; c < seen.end; c = round_up(c + 1, tile_tokens))
        b.k_tiles[c / tile_tokens] = tile_offset(b.position + c);
  }

  /// Bytes from one token to the next of its run; keys in tiles are not found by these.
  [[nodiscard]] std::int64_t k_token() const noexcept { return tiles_ ? 0 : layout_.k_strides().token * in_.k_bytes; }
  [[nodiscard]] std::int64_t v_token() const noexcept { return layout_.v_strides().token * in_.v_bytes; }

  /// Calls f(first column, number of columns, run) for each part of the block that lies in one run, while f says so.
  template <class F>
  bool for_each_run(const key_block& b, const F& f) const noexcept {
    for (const interval& seen : b.seen)
      for (std::int64_t c = seen.begin; c < seen.end;) {
        const kv_run run = layout_.run_at(seq_, b.position + c);
        const std::int64_t n = std::min(run.count, seen.end - c);
        if (!f(c, n, run)) return false;
        c += n;
      }
    return true;
  }

  /// Offsets of each row_group's first row, and the longest run that holds for all; false where that is no row_group.
  bool locate_groups(key_block& b) noexcept {
    if (!b.full() || v_token() == 0 || (k_token() == 0 && !tiles_)) return false;
    b.run = block_keys;
    return for_each_run(b, [&](std::int64_t first, std::int64_t n, const kv_run& run) noexcept {
      for (std::int64_t i = 0; i < n; i += row_group) {
        b.k[first + i] = run.k * in_.k_bytes + i * k_token();
        b.v[first + i] = run.v * in_.v_bytes + i * v_token();
      }
      while (first % b.run != 0 || n % b.run != 0) b.run /= 2;
      return b.run >= row_group;
    });
  }

  void locate_each(const key_block& b) noexcept {
    const kv_run any = layout_.run_at(seq_, b.position + b.seen[0].begin);
    std::fill_n(b.k, block_keys, any.k * in_.k_bytes);
    std::fill_n(b.v, block_keys, any.v * in_.v_bytes);
    for_each_run(b, [&](std::int64_t first, std::int64_t n, const kv_run& run) noexcept {
      for (std::int64_t i = 0; i < n; ++i) {
        b.k[first + i] = run.k * in_.k_bytes + i * k_token();
        b.v[first + i] = run.v * in_.v_bytes + i * v_token();
      }
      return true;
    });
  }

  [[nodiscard]] std::int64_t tile_offset(std::int64_t position) const noexcept {
    return (layout_.run_at(seq_, position).k - position % tile_tokens) * in_.k_bytes;
  }

  const Layout& layout_;
  const step_inputs& in_;
  const std::int64_t seq_;
  const visible_keys keys_;
  const chunk_list chunks_;
  place_in_unit next_;
  std::int64_t size_ = 0;
  const std::int64_t last_cell_, together_, heads_on_;
  const bool tiles_;
  key_block blocks_[chunk_blocks + 1];
  std::int64_t k_[(chunk_blocks + 1) * block_keys] = {}, v_[(chunk_blocks + 1) * block_keys] = {};
  std::int64_t k_tiles_[(chunk_blocks + 1) * tiles_in_block] = {};
};

}  // namespace detail

GQA_NAMESPACE_END
