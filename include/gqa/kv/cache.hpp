// A cache that owns its memory: [sequences] of up to `capacity` tokens each, one buffer for K and one for V.
//
//   gqa::kv_cache<gqa::bf16> cache({.sequences = 1, .capacity = 4096, .kv_heads = 8, .head_dim = 128, .v_head_dim =
//   128}); cache.append(0, k, v, tokens);                 // dense [tokens][kv_heads][dim], float, f16 or bf16
//   batch.kv_lens = cache.lengths();               // then attend over cache.view()
//
// bytes = sequences * kv_heads * capacity * (head_dim * sizeof(K) + v_head_dim * sizeof(V))
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "append.hpp"
#include "contiguous.hpp"

GQA_NAMESPACE_BEGIN

/// How an owning cache lays out its tokens.
enum class cache_order : std::uint8_t {
  token_major,  ///< [token][kv_head][dim], as PyTorch has it
  head_major,   ///< [kv_head][token][dim], as ONNX Runtime has it
  tiled,        ///< K [kv_head][token / 16][head_dim][16], V head-major: attention needs no transpose of the keys
};

[[nodiscard]] constexpr const char* name(cache_order order) noexcept {
  switch (order) {
    case cache_order::token_major: return "token_major";
    case cache_order::head_major: return "head_major";
    case cache_order::tiled: return "tiled";
  }
  return "unknown";
}

/// What to build a kv_cache from; all sizes at least 1.
struct kv_cache_spec {
  std::int64_t sequences = 1;
  std::int64_t capacity = 0;  ///< tokens a sequence has room for; tiled caches reserve the next multiple of 16
  std::int64_t kv_heads = 0, head_dim = 0, v_head_dim = 0;
  cache_order order = cache_order::token_major;

  [[nodiscard]] constexpr kv_shape shape() const noexcept { return {kv_heads, head_dim, v_head_dim}; }
};

namespace detail {

inline constexpr std::size_t cache_alignment = 64;  // a cache line, and the widest vector

struct aligned_delete {
  void operator()(void* p) const noexcept { ::operator delete (p, std::align_val_t{cache_alignment}); }
};
/// Elements whose lifetime ends with the memory: T is trivially destructible. Uninitialised, so that pages of memory
/// are first touched by who writes them.
template <class T>
using aligned_array = std::unique_ptr<T[], aligned_delete>;

template <class T>
[[nodiscard]] inline status allocate(aligned_array<T>& array, const char* argument, checked elements) noexcept {
  static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
  const checked bytes = elements * static_cast<std::int64_t>(sizeof(T));
  if (bytes.overflowed) return failure(errc::overflow, argument, elements.value, "a size in bytes that fits 63 bits");
  void* p = ::operator new (static_cast<std::size_t>(bytes.value), std::align_val_t{cache_alignment}, std::nothrow);
  if (!p) return failure(errc::out_of_memory, argument, bytes.value, "a size in bytes that fits memory");
  array.reset(static_cast<T*>(p));
  return {};
}

}  // namespace detail

/// Owning contiguous cache of keys stored as K and values stored as V; 64-byte aligned, movable, not copyable. The
/// moved-from cache has no sequences. Calls on different sequences may run at once.
template <storage K, storage V = K>
class kv_cache {
 public:
  kv_cache() = default;  ///< no sequences
#if GQA_EXCEPTIONS
  explicit kv_cache(const kv_cache_spec& spec) { throw_if_failed(make(*this, spec)); }
#endif
  kv_cache(kv_cache&& other) noexcept { *this = std::move(other); }
  kv_cache& operator=(kv_cache&& other) noexcept {
    spec_ = std::exchange(other.spec_, none);
    k_ = std::move(other.k_);
    v_ = std::move(other.v_);
    lengths_ = std::move(other.lengths_);
    return *this;
  }

  /// Replaces `cache` by an empty one; on an error (bad size, overflow, out of memory) it stays as it was.
  [[nodiscard]] static status make(kv_cache& cache, const kv_cache_spec& spec) noexcept {
    kv_cache made;
    GQA_TRY(made.allocate(spec));
    cache = std::move(made);
    return {};
  }

  [[nodiscard]] const kv_cache_spec& spec() const noexcept { return spec_; }
  [[nodiscard]] std::int64_t sequences() const noexcept { return spec_.sequences; }
  [[nodiscard]] std::int64_t capacity() const noexcept { return spec_.capacity; }
  /// Tokens of sequence `seq`; 0 for one that does not exist.
  [[nodiscard]] std::int64_t length(std::int64_t seq) const noexcept { return has(seq) ? lengths_[seq] : 0; }
  /// Tokens of every sequence: valid as batch_spec::kv_lens while the cache lives.
  [[nodiscard]] std::span<const std::int64_t> lengths() const noexcept {
    return {lengths_.get(), static_cast<std::size_t>(spec_.sequences)};
  }

  [[nodiscard]] contiguous_layout layout() const noexcept { return layout_of(spec_); }
  [[nodiscard]] const K* k() const noexcept { return k_.get(); }
  [[nodiscard]] const V* v() const noexcept { return v_.get(); }
  [[nodiscard]] K* k() noexcept { return k_.get(); }
  [[nodiscard]] V* v() noexcept { return v_.get(); }
  [[nodiscard]] kv_view<K, V, contiguous_layout> view() const noexcept { return {k(), v(), layout()}; }
  /// Bytes of the K and V buffers together.
  [[nodiscard]] std::int64_t bytes() const noexcept {
    const contiguous_layout l = layout();
    return l.k_extent(spec_.kv_heads, spec_.head_dim).value * std::int64_t{sizeof(K)} +
           l.v_extent(spec_.kv_heads, spec_.v_head_dim).value * std::int64_t{sizeof(V)};
  }

  /// Adds `tokens` tokens behind the last one of sequence `seq`. On an error nothing changes.
  template <storage SK, storage SV>
  [[nodiscard]] status try_append(std::int64_t seq, const kv_source<SK, SV>& source, std::int64_t tokens) noexcept {
    GQA_TRY(check_sequence(seq));
    if (tokens > spec_.capacity - lengths_[seq])  // a tiled cache may have room for a few more
      return failure_bound(errc::out_of_range, "tokens", tokens, "at most the room left in the sequence",
                           spec_.capacity - lengths_[seq]);
    GQA_TRY(gqa::try_append(k(), v(), layout(), spec_.shape(), {seq, lengths_[seq], tokens}, source));
    lengths_[seq] += tokens;
    return {};
  }
  /// The same from dense [tokens][kv_heads][head_dim] and [tokens][kv_heads][v_head_dim].
  template <storage SK, storage SV>
  [[nodiscard]] status try_append(std::int64_t seq, const SK* k, const SV* v, std::int64_t tokens) noexcept {
    return try_append(seq, dense_source(k, v, spec_.shape()), tokens);
  }
  /// The same from the rows of two Eigen matrices.
  template <class SK, class SV>
  [[nodiscard]] status try_append(std::int64_t seq, const token_rows<SK>& k, const token_rows<SV>& v) noexcept {
    kv_source<std::remove_const_t<SK>, std::remove_const_t<SV>> source;
    GQA_TRY(make_source(source, k, v, spec_.shape()));
    return try_append(seq, source, k.tokens);
  }

  /// Takes back the tokens of sequence `seq` from position `length` on.
  [[nodiscard]] status try_truncate(std::int64_t seq, std::int64_t length) noexcept {
    GQA_TRY(check_sequence(seq));
    if (length < 0 || length > lengths_[seq])
      return failure_bound(errc::out_of_range, "length", length, "at least 0 and at most the sequence's length",
                           lengths_[seq]);
    lengths_[seq] = length;
    return {};
  }
  /// Empties every sequence.
  void clear() noexcept {
    for (std::int64_t seq = 0; seq < spec_.sequences; ++seq) lengths_[seq] = 0;
  }

#if GQA_EXCEPTIONS
  /// The throwing forms of try_append and try_truncate.
  template <class... Source>
  void append(std::int64_t seq, const Source&... source) {
    throw_if_failed(try_append(seq, source...));
  }
  void truncate(std::int64_t seq, std::int64_t length) { throw_if_failed(try_truncate(seq, length)); }
#endif

 private:
  static constexpr kv_cache_spec none{.sequences = 0};

  [[nodiscard]] static contiguous_layout layout_of(const kv_cache_spec& s) noexcept {
    if (s.order == cache_order::token_major)
      return contiguous_layout::token_major(s.sequences, s.capacity, s.kv_heads, s.head_dim, s.v_head_dim);
    if (s.order == cache_order::head_major)
      return contiguous_layout::head_major(s.sequences, s.capacity, s.kv_heads, s.head_dim, s.v_head_dim);
    return contiguous_layout::tiled(s.sequences, round_up(s.capacity, tile_tokens), s.kv_heads, s.head_dim,
                                    s.v_head_dim);
  }

  [[nodiscard]] status allocate(const kv_cache_spec& s) noexcept {
    if (s.sequences < 1) return failure(errc::invalid_argument, "sequences", s.sequences, "a positive count");
    if (s.capacity < 1) return failure(errc::invalid_argument, "capacity", s.capacity, "a positive count of tokens");
    if ((checked(s.capacity) + tile_tokens).overflowed)
      return failure(errc::overflow, "capacity", s.capacity, "a count that fits 63 bits in whole tiles");
    if (s.order > cache_order::tiled)
      return failure(errc::invalid_argument, "order", static_cast<std::int64_t>(s.order),
                     "an enumerator of cache_order");
    GQA_TRY(check_shape(s.shape()));
    const contiguous_layout l = layout_of(s);
    GQA_TRY(l.check(s.kv_heads, s.head_dim, s.v_head_dim));
    GQA_TRY(detail::allocate(k_, "k", l.k_extent(s.kv_heads, s.head_dim)));
    GQA_TRY(detail::allocate(v_, "v", l.v_extent(s.kv_heads, s.v_head_dim)));
    GQA_TRY(detail::allocate(lengths_, "sequences", s.sequences));
    spec_ = s;
    clear();
    return {};
  }

  [[nodiscard]] bool has(std::int64_t seq) const noexcept { return seq >= 0 && seq < spec_.sequences; }
  [[nodiscard]] status check_sequence(std::int64_t seq) const noexcept {
    if (has(seq)) return {};
    return failure_bound(errc::out_of_range, "seq", seq, "at least 0 and below the cache's sequences", spec_.sequences);
  }

  kv_cache_spec spec_ = none;
  detail::aligned_array<K> k_;
  detail::aligned_array<V> v_;
  detail::aligned_array<std::int64_t> lengths_;
};

GQA_NAMESPACE_END
