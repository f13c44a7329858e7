// The blocks of 64 keys that a unit looks at, with the byte offset of every key and value in them: runs end here, so
// that neither kernels nor the walk know pages. Offsets of the block that follows stand behind the current ones, for
// prefetch.
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

struct interval {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] bool empty() const noexcept { return begin >= end; }
};

/// One block. Columns count from its first position, a multiple of 64.
struct key_block {
  std::int64_t position = 0;  ///< of column 0
  std::int64_t chunk = no_chunk;
  interval seen[2];                 ///< columns that some row of the unit sees
  std::int64_t begin = 0, end = 0;  ///< columns to compute: what is seen, rounded out to whole tiles of 16
  // Byte offsets for columns 0 ... 63 of this block, then of the next. Columns nobody sees repeat one that somebody
  // does.
  std::int64_t* k = nullptr;  ///< rows; unused where K lies in tiles
  std::int64_t* v = nullptr;
  std::int64_t* k_tiles = nullptr;  ///< dim-major tiles, 4 and 4

  [[nodiscard]] bool full() const noexcept {
    const std::int64_t columns =
        std::max<std::int64_t>(seen[0].end - seen[0].begin, 0) + std::max<std::int64_t>(seen[1].end - seen[1].begin, 0);
    return columns == end - begin;
  }
};

template <kv_layout Layout>
class block_list {
 public:
  /// Blocks of chunks[first_cell] ... chunks[last_cell - 1].
  block_list(const Layout& layout, const step_inputs& in, std::int64_t seq, const visible_keys& keys,
             const chunk_list& chunks, std::int64_t first_cell, std::int64_t last_cell) noexcept
      : layout_(layout), in_(in), seq_(seq), keys_(keys), chunks_(chunks), cell_(first_cell), last_cell_(last_cell),
        tiles_(layout.order() == key_order::tiles) {
    find(next_);
    locate(next_);
    advance();
  }

  [[nodiscard]] bool valid() const noexcept { return current_.chunk != no_chunk; }
  [[nodiscard]] const key_block& current() const noexcept { return current_; }

  void advance() noexcept {
    current_ = next_;
    current_.k = k_;
    current_.v = v_;
    current_.k_tiles = k_tiles_;
    std::copy_n(k_ + block_keys, block_keys, k_);
    std::copy_n(v_ + block_keys, block_keys, v_);
    std::copy_n(k_tiles_ + tiles_in_block, tiles_in_block, k_tiles_);
    if (!valid()) return;
    find(next_);
    if (next_.chunk != no_chunk) locate(next_);
  }

 private:
  static constexpr std::int64_t tiles_in_block = block_keys / tile_tokens;

  /// The next block in which somebody sees a key.
  void find(key_block& b) noexcept {
    b = {};
    for (; cell_ < last_cell_; ++cell_, block_ = 0)
      while (block_ < chunk_tokens / block_keys) {
        b.position = chunks_[cell_] * chunk_tokens + block_++ * block_keys;
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
        b.chunk = chunks_[cell_];
        return;
      }
    b.chunk = no_chunk;
  }

  /// Offsets of the block's keys and values, into the second half of the arrays.
  void locate(const key_block& b) noexcept {
    if (b.chunk == no_chunk) return;
    std::int64_t* k = k_ + block_keys;
    std::int64_t* v = v_ + block_keys;
    const std::int64_t k_token = layout_.k_strides().token * in_.k_bytes,
                       v_token = layout_.v_strides().token * in_.v_bytes;
    const kv_run any = layout_.run_at(seq_, b.position + b.seen[0].begin);
    std::fill_n(k, block_keys, any.k * in_.k_bytes);
    std::fill_n(v, block_keys, any.v * in_.v_bytes);
    if (tiles_) std::fill_n(k_tiles_ + tiles_in_block, tiles_in_block, tile_offset(b.position + b.seen[0].begin));
    for (const interval& seen : b.seen)
      for (std::int64_t c = seen.begin; c < seen.end;) {
        const kv_run run = layout_.run_at(seq_, b.position + c);
        const std::int64_t n = std::min(run.count, seen.end - c);
        if (!tiles_)
          for (std::int64_t i = 0; i < n; ++i) k[c + i] = run.k * in_.k_bytes + i * k_token;
        for (std::int64_t i = 0; i < n; ++i) v[c + i] = run.v * in_.v_bytes + i * v_token;
        if (tiles_)
          for (std::int64_t t = c / tile_tokens; t <= (c + n - 1) / tile_tokens; ++t)
            k_tiles_[tiles_in_block + t] = tile_offset(b.position + std::max(c, t * tile_tokens));
        c += n;
      }
  }

  [[nodiscard]] std::int64_t tile_offset(std::int64_t position) const noexcept {
    return (layout_.run_at(seq_, position).k - position % tile_tokens) * in_.k_bytes;
  }

  const Layout& layout_;
  const step_inputs& in_;
  const std::int64_t seq_;
  const visible_keys keys_;
  const chunk_list chunks_;
  std::int64_t cell_, last_cell_, block_ = 0;
  const bool tiles_;
  key_block current_, next_;
  std::int64_t k_[2 * block_keys] = {}, v_[2 * block_keys] = {}, k_tiles_[2 * tiles_in_block] = {};
};

}  // namespace detail

GQA_NAMESPACE_END
