// A paged cache that owns its pool: sequences take pages of `page_size` tokens from a free list as they grow and give
// them back when they end (Kwon et al. 2023, arXiv 2309.06180, section 4.1). Memory follows the tokens in use, not the
// longest sequence possible.
//
//   gqa::paged_kv_cache<gqa::f16> cache({.num_pages = 1024, .page_size = 16, .sequences = 64, .max_pages = 256,
//                                        .kv_heads = 8, .head_dim = 128, .v_head_dim = 128});
//   cache.append(seq, k, v, tokens);               // takes pages as needed
//   cache.release(seq);                            // gives them back
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "cache.hpp"
#include "paged.hpp"

GQA_NAMESPACE_BEGIN

/// What to build a paged_kv_cache from; all sizes at least 1.
struct paged_kv_cache_spec {
  std::int64_t num_pages = 0;   ///< pages in the pool
  std::int64_t page_size = 16;  ///< tokens a page; a multiple of 16 where tiled
  std::int64_t sequences = 1;
  std::int64_t max_pages = 0;  ///< pages that one sequence may hold: the width of its page table
  std::int64_t kv_heads = 0, head_dim = 0, v_head_dim = 0;
  cache_order order = cache_order::token_major;  ///< inside a page

  [[nodiscard]] constexpr kv_shape shape() const noexcept { return {kv_heads, head_dim, v_head_dim}; }
};

/// Owning pool of pages of keys stored as K and values stored as V; 64-byte aligned, movable, not copyable. The
/// moved-from cache has no sequences. Not for concurrent appends: sequences share the free list. No member but make
/// allocates.
template <storage K, storage V = K>
class paged_kv_cache {
 public:
  static constexpr std::int32_t no_page = -1;  ///< what the page table holds where a sequence has no page

  paged_kv_cache() = default;  ///< no sequences
#if GQA_EXCEPTIONS
  explicit paged_kv_cache(const paged_kv_cache_spec& spec) { throw_if_failed(make(*this, spec)); }
#endif
  paged_kv_cache(paged_kv_cache&& other) noexcept { *this = std::move(other); }
  paged_kv_cache& operator=(paged_kv_cache&& other) noexcept {
    spec_ = std::exchange(other.spec_, none);
    free_count_ = std::exchange(other.free_count_, 0);
    k_ = std::move(other.k_);
    v_ = std::move(other.v_);
    lengths_ = std::move(other.lengths_);
    table_ = std::move(other.table_);
    free_ = std::move(other.free_);
    return *this;
  }

  /// Replaces `cache` by an empty one; on an error (bad size, overflow, out of memory) it stays as it was.
  [[nodiscard]] static status make(paged_kv_cache& cache, const paged_kv_cache_spec& spec) noexcept {
    paged_kv_cache made;
    GQA_TRY(made.allocate(spec));
    cache = std::move(made);
    return {};
  }

  [[nodiscard]] const paged_kv_cache_spec& spec() const noexcept { return spec_; }
  [[nodiscard]] std::int64_t sequences() const noexcept { return spec_.sequences; }
  [[nodiscard]] std::int64_t free_pages() const noexcept { return free_count_; }
  /// Tokens of sequence `seq`; 0 for one that does not exist.
  [[nodiscard]] std::int64_t length(std::int64_t seq) const noexcept { return has(seq) ? lengths_[seq] : 0; }
  /// Tokens of every sequence: valid as batch_spec::kv_lens while the cache lives.
  [[nodiscard]] std::span<const std::int64_t> lengths() const noexcept {
    return {lengths_.get(), static_cast<std::size_t>(spec_.sequences)};
  }

  /// [sequences][max_pages]; the entries past a sequence's length are no_page.
  [[nodiscard]] page_table_view table() const noexcept {
    return page_table_view::padded(table_.get(), spec_.sequences, spec_.max_pages);
  }
  /// Refers to the page table of this cache: append, truncate and release show through it.
  [[nodiscard]] paged_layout layout() const noexcept { return layout_of(spec_, table()); }
  [[nodiscard]] const K* k() const noexcept { return k_.get(); }
  [[nodiscard]] const V* v() const noexcept { return v_.get(); }
  [[nodiscard]] K* k() noexcept { return k_.get(); }
  [[nodiscard]] V* v() noexcept { return v_.get(); }
  [[nodiscard]] kv_view<K, V, paged_layout> view() const noexcept { return {k(), v(), layout()}; }
  /// Bytes of the K and V pools together.
  [[nodiscard]] std::int64_t bytes() const noexcept {
    const paged_layout l = layout();
    return l.k_extent(spec_.kv_heads, spec_.head_dim).value * std::int64_t{sizeof(K)} +
           l.v_extent(spec_.kv_heads, spec_.v_head_dim).value * std::int64_t{sizeof(V)};
  }

  /// Adds `tokens` tokens behind the last one of sequence `seq`. On an error, too few free pages among them, nothing
  /// changes and no page is taken.
  template <storage SK, storage SV>
  [[nodiscard]] status try_append(std::int64_t seq, const kv_source<SK, SV>& source, std::int64_t tokens) noexcept {
    GQA_TRY(check_sequence(seq));
    const std::int64_t length = lengths_[seq], room = spec_.max_pages * spec_.page_size - length;
    if (tokens > room)
      return failure_bound(errc::out_of_range, "tokens", tokens, "at most the room left in the sequence's max_pages",
                           room);
    const std::int64_t held = pages_for(length), needed = tokens < 0 ? held : pages_for(length + tokens);
    if (needed - held > free_count_)
      return failure_bound(errc::out_of_memory, "tokens", tokens,
                           "at most the room in the sequence's last and the free pages",
                           (held + free_count_) * spec_.page_size - length);
    resize_row(seq, held, needed);
    const status s = gqa::try_append(k(), v(), layout(), spec_.shape(), {seq, length, tokens}, source);
    if (!s.ok()) {
      resize_row(seq, needed, held);
      return s;
    }
    lengths_[seq] = length + tokens;
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

  /// Takes back the tokens of sequence `seq` from position `length` on; pages left without a token become free.
  [[nodiscard]] status try_truncate(std::int64_t seq, std::int64_t length) noexcept {
    GQA_TRY(check_sequence(seq));
    if (length < 0 || length > lengths_[seq])
      return failure_bound(errc::out_of_range, "length", length, "at least 0 and at most the sequence's length",
                           lengths_[seq]);
    resize_row(seq, pages_for(lengths_[seq]), pages_for(length));
    lengths_[seq] = length;
    return {};
  }
  /// Ends sequence `seq`: all its pages become free.
  [[nodiscard]] status try_release(std::int64_t seq) noexcept { return try_truncate(seq, 0); }
  /// Ends every sequence.
  void clear() noexcept {
    for (std::int64_t seq = 0; seq < spec_.sequences; ++seq) {
      resize_row(seq, pages_for(lengths_[seq]), 0);
      lengths_[seq] = 0;
    }
  }

#if GQA_EXCEPTIONS
  /// The throwing forms of try_append, try_truncate and try_release.
  template <class... Source>
  void append(std::int64_t seq, const Source&... source) {
    throw_if_failed(try_append(seq, source...));
  }
  void truncate(std::int64_t seq, std::int64_t length) { throw_if_failed(try_truncate(seq, length)); }
  void release(std::int64_t seq) { throw_if_failed(try_release(seq)); }
#endif

 private:
  static constexpr paged_kv_cache_spec none{.sequences = 0};

  [[nodiscard]] static paged_layout layout_of(const paged_kv_cache_spec& s, const page_table_view& table) noexcept {
    const auto make = s.order == cache_order::token_major  ? paged_layout::token_major
                      : s.order == cache_order::head_major ? paged_layout::head_major
                                                           : paged_layout::tiled;
    return make(table, s.num_pages, s.page_size, s.kv_heads, s.head_dim, s.v_head_dim);
  }

  [[nodiscard]] status allocate(const paged_kv_cache_spec& s) noexcept {
    if (s.num_pages < 1 || s.num_pages > INT32_MAX)
      return failure(errc::invalid_argument, "num_pages", s.num_pages, "a positive count whose ids fit 32 bits");
    if (s.page_size < 1) return failure(errc::invalid_argument, "page_size", s.page_size, "a positive token count");
    if (s.sequences < 1) return failure(errc::invalid_argument, "sequences", s.sequences, "a positive count");
    if (s.max_pages < 1) return failure(errc::invalid_argument, "max_pages", s.max_pages, "a positive count of pages");
    if (s.order > cache_order::tiled)
      return failure(errc::invalid_argument, "order", static_cast<std::int64_t>(s.order),
                     "an enumerator of cache_order");
    GQA_TRY(check_shape(s.shape()));
    if ((checked(s.max_pages) * s.page_size).overflowed)
      return failure(errc::overflow, "max_pages", s.max_pages, "a count whose tokens fit 63 bits");
    const checked entries = checked(s.sequences) * s.max_pages;
    const paged_layout l = layout_of(s, {});
    GQA_TRY(l.check(s.kv_heads, s.head_dim, s.v_head_dim));
    GQA_TRY(detail::allocate(k_, "k", l.k_extent(s.kv_heads, s.head_dim)));
    GQA_TRY(detail::allocate(v_, "v", l.v_extent(s.kv_heads, s.v_head_dim)));
    GQA_TRY(detail::allocate(lengths_, "sequences", s.sequences));
    GQA_TRY(detail::allocate(table_, "page_table", entries));
    GQA_TRY(detail::allocate(free_, "num_pages", s.num_pages));
    for (std::int64_t seq = 0; seq < s.sequences; ++seq) lengths_[seq] = 0;
    for (std::int64_t i = 0; i < entries.value; ++i) table_[i] = no_page;
    for (std::int64_t i = 0; i < s.num_pages; ++i)
      free_[i] = static_cast<std::int32_t>(s.num_pages - 1 - i);  // 0 first
    free_count_ = s.num_pages;
    spec_ = s;
    return {};
  }

  [[nodiscard]] std::int64_t pages_for(std::int64_t tokens) const noexcept {  // no sum: it could wrap
    return tokens / spec_.page_size + (tokens % spec_.page_size != 0);
  }

  /// Gives the row of `seq`, which holds `held` pages, exactly `wanted`; undoing it restores the free list's order.
  void resize_row(std::int64_t seq, std::int64_t held, std::int64_t wanted) noexcept {
    std::int32_t* row = table_.get() + seq * spec_.max_pages;
    for (; held < wanted; ++held) row[held] = free_[--free_count_];
    while (held > wanted) {
      free_[free_count_++] = row[--held];
      row[held] = no_page;
    }
  }

  [[nodiscard]] bool has(std::int64_t seq) const noexcept { return seq >= 0 && seq < spec_.sequences; }
  [[nodiscard]] status check_sequence(std::int64_t seq) const noexcept {
    if (has(seq)) return {};
    return failure_bound(errc::out_of_range, "seq", seq, "at least 0 and below the cache's sequences", spec_.sequences);
  }

  paged_kv_cache_spec spec_ = none;
  detail::aligned_array<K> k_;
  detail::aligned_array<V> v_;
  detail::aligned_array<std::int64_t> lengths_;
  detail::aligned_array<std::int32_t> table_;
  detail::aligned_array<std::int32_t> free_;  ///< a stack of free_count_ page ids
  std::int64_t free_count_ = 0;
};

GQA_NAMESPACE_END
