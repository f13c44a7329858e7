// One buffer for K and one for V, any strides: [batch][token][head][dim] as PyTorch and most engines have it,
// [batch][head][token][dim] as ONNX Runtime has it, or K in dim-major tiles.
#pragma once

#include <algorithm>

#include "../base/index_view.hpp"
#include "layout.hpp"

GQA_NAMESPACE_BEGIN

class contiguous_layout {
 public:
  contiguous_layout() = default;

  /// `capacity` tokens for each of `sequences` sequences; sequence b begins at element b * k_batch of K and b * v_batch
  /// of V. `first_positions`: the position of each sequence's first stored token (0 where absent).
  contiguous_layout(std::int64_t sequences, std::int64_t capacity, kv_strides k, std::int64_t k_batch, kv_strides v,
                    std::int64_t v_batch, key_order order = key_order::rows, index_view first_positions = {}) noexcept
      : sequences_(sequences), capacity_(capacity), k_(k), v_(v), k_batch_(k_batch), v_batch_(v_batch), order_(order),
        first_(first_positions) {}

  /// K and V as [sequences][capacity][kv_heads][dim].
  [[nodiscard]] static contiguous_layout token_major(std::int64_t sequences, std::int64_t capacity,
                                                     std::int64_t kv_heads, std::int64_t head_dim,
                                                     std::int64_t v_head_dim) noexcept {
    const auto size = [&](std::int64_t dim) { return saturated(checked(capacity) * kv_heads * dim); };
    return {sequences,
            capacity,
            {saturated(checked(kv_heads) * head_dim), head_dim},
            size(head_dim),
            {saturated(checked(kv_heads) * v_head_dim), v_head_dim},
            size(v_head_dim)};
  }

  /// K and V as [sequences][kv_heads][capacity][dim].
  [[nodiscard]] static contiguous_layout head_major(std::int64_t sequences, std::int64_t capacity,
                                                    std::int64_t kv_heads, std::int64_t head_dim,
                                                    std::int64_t v_head_dim) noexcept {
    const auto plane = [&](std::int64_t dim) { return saturated(checked(capacity) * dim); };
    const auto size = [&](std::int64_t dim) { return saturated(checked(capacity) * kv_heads * dim); };
    return {sequences,       capacity, {head_dim, plane(head_dim)}, size(head_dim), {v_head_dim, plane(v_head_dim)},
            size(v_head_dim)};
  }

  /// K as [sequences][kv_heads][capacity / 16][head_dim][16], V as [sequences][kv_heads][capacity][v_head_dim];
  /// capacity is a multiple of 16.
  [[nodiscard]] static contiguous_layout tiled(std::int64_t sequences, std::int64_t capacity, std::int64_t kv_heads,
                                               std::int64_t head_dim, std::int64_t v_head_dim) noexcept {
    contiguous_layout l = head_major(sequences, capacity, kv_heads, head_dim, v_head_dim);
    l.k_.token = saturated(checked(head_dim) * tile_tokens);
    l.order_ = key_order::tiles;
    return l;
  }

  [[nodiscard]] std::int64_t sequences() const noexcept { return sequences_; }
  [[nodiscard]] std::int64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::int64_t first_position(std::int64_t seq) const noexcept {
    return first_.present() ? first_[seq] : 0;
  }
  [[nodiscard]] std::int64_t end_position(std::int64_t seq) const noexcept { return first_position(seq) + capacity_; }
  [[nodiscard]] kv_strides k_strides() const noexcept { return k_; }
  [[nodiscard]] kv_strides v_strides() const noexcept { return v_; }
  [[nodiscard]] key_order order() const noexcept { return order_; }

  [[nodiscard]] kv_run run_at(std::int64_t seq, std::int64_t position) const noexcept {
    const std::int64_t slot = position - first_position(seq);
    return {position, capacity_ - slot, seq * k_batch_ + token_offset(order_, k_, slot),
            seq * v_batch_ + slot * v_.token};
  }

  [[nodiscard]] status check(std::int64_t kv_heads, std::int64_t head_dim, std::int64_t v_head_dim) const noexcept {
    if (sequences_ < 0) return failure(errc::invalid_argument, "sequences", sequences_, "a count of at least 0");
    if (capacity_ < 0) return failure(errc::invalid_argument, "capacity", capacity_, "a count of at least 0");
    GQA_TRY(check_strides("k_strides", k_));
    GQA_TRY(check_strides("v_strides", v_));
    if (k_batch_ < 0) return failure(errc::invalid_argument, "k_batch", k_batch_, "a stride of at least 0");
    if (v_batch_ < 0) return failure(errc::invalid_argument, "v_batch", v_batch_, "a stride of at least 0");
    if (first_.present() && !first_.covers(sequences_))
      return failure_bound(errc::invalid_argument, "first_positions", first_.size(), "one a sequence", sequences_);
    for (std::int64_t b = 0; first_.present() && b < sequences_; ++b) {
      if (first_[b] < 0 || (checked(first_[b]) + capacity_).overflowed)
        return failure(errc::out_of_range, "first_positions", first_[b], "a position of at least 0 that fits 64 bits",
                       b);
      if (order_ == key_order::tiles && first_[b] % tile_tokens != 0)
        return failure(errc::unsupported, "first_positions", first_[b], "a multiple of 16 where K lies in tiles", b);
    }
    if (order_ == key_order::tiles && capacity_ % tile_tokens != 0)
      return failure(errc::invalid_argument, "capacity", capacity_, "a multiple of 16 where K lies in tiles");
    if (k_extent(kv_heads, head_dim).overflowed)
      return failure(errc::overflow, "k", capacity_, "a K whose bytes fit in 63 bits; this is its capacity in tokens");
    if (v_extent(kv_heads, v_head_dim).overflowed)
      return failure(errc::overflow, "v", capacity_, "a V whose bytes fit in 63 bits; this is its capacity in tokens");
    return {};
  }

  [[nodiscard]] status check_tokens(std::int64_t, std::int64_t, std::int64_t) const noexcept { return {}; }

  [[nodiscard]] checked k_extent(std::int64_t kv_heads, std::int64_t head_dim) const noexcept {
    if (order_ == key_order::rows) return extent(k_, k_batch_, capacity_, kv_heads, head_dim);
    return extent(k_, k_batch_, capacity_ / tile_tokens, kv_heads, saturated(checked(head_dim) * tile_tokens));
  }
  [[nodiscard]] checked v_extent(std::int64_t kv_heads, std::int64_t v_head_dim) const noexcept {
    return extent(v_, v_batch_, capacity_, kv_heads, v_head_dim);
  }

 private:
  [[nodiscard]] checked extent(kv_strides s, std::int64_t batch_stride, std::int64_t rows, std::int64_t kv_heads,
                               std::int64_t dim) const noexcept {
    if (rows == 0 || sequences_ == 0) return 0;
    checked n =
        checked(sequences_ - 1) * batch_stride + checked(rows - 1) * s.token + checked(kv_heads - 1) * s.head + dim;
    n.overflowed = n.overflowed || (n * 8).overflowed;  // in bytes as well
    return n;
  }

  std::int64_t sequences_ = 0, capacity_ = 0;
  kv_strides k_, v_;
  std::int64_t k_batch_ = 0, v_batch_ = 0;
  key_order order_ = key_order::rows;
  index_view first_;
};

static_assert(kv_layout<contiguous_layout>);

GQA_NAMESPACE_END
