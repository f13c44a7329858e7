// Writing new tokens into a cache, whatever its layout: the one way in, as attention is the one way out.
//
//   K element d of token position + i, head h  =  round(source.k[i * token + h * head + d]),   V alike
//
// Rounding is to nearest even, overflow to inf (base/convert.hpp). Only the named tokens change: their neighbours in a
// page or a dim-major tile keep every byte.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../base/convert.hpp"
#include "../base/eigen_view.hpp"
#include "layout.hpp"

GQA_NAMESPACE_BEGIN

/// The counts of a cache: what a layout does not know.
struct kv_shape {
  std::int64_t kv_heads = 0, head_dim = 0, v_head_dim = 0;
};

/// Tokens at `position` ... `position + tokens - 1` of sequence `seq`.
struct token_range {
  std::int64_t seq = 0, position = 0, tokens = 0;
};

/// New keys and values, [token][kv_head][dim] by strides in elements; dim has stride 1, a stride of 0 repeats. Rows of
/// a fused QKV projection are one of these.
template <storage K, storage V = K>
struct kv_source {
  const K* k = nullptr;
  const V* v = nullptr;
  kv_strides k_strides{}, v_strides{};
};

/// Dense [tokens][kv_heads][head_dim] and [tokens][kv_heads][v_head_dim].
template <storage K, storage V>
[[nodiscard]] constexpr kv_source<K, V> dense_source(const K* k, const V* v, const kv_shape& s) noexcept {
  return {k,
          v,
          {saturated(checked(s.kv_heads) * s.head_dim), s.head_dim},
          {saturated(checked(s.kv_heads) * s.v_head_dim), s.v_head_dim}};
}

/// Rows of two Eigen matrices (base/eigen_view.hpp), which must have the cache's heads and dims and equally many
/// tokens.
template <class K, class V>
[[nodiscard]] constexpr status make_source(kv_source<std::remove_const_t<K>, std::remove_const_t<V>>& source,
                                           const token_rows<K>& k, const token_rows<V>& v, const kv_shape& s) noexcept {
  GQA_TRY(check_rows("k", k, s.kv_heads, s.head_dim));
  GQA_TRY(check_rows("v", v, s.kv_heads, s.v_head_dim));
  if (k.tokens != v.tokens)
    return failure_bound(errc::invalid_argument, "v.tokens", v.tokens, "as many tokens as k has", k.tokens);
  source = {k.data, v.data, k.template strides<kv_strides>(), v.template strides<kv_strides>()};
  return {};
}

namespace detail {

/// Bytes from the first to the last element of rows that lie at two strides.
struct byte_extent {
  std::uintptr_t begin = 0, end = 0;
  [[nodiscard]] constexpr bool overlaps(const byte_extent& o) const noexcept { return begin < o.end && o.begin < end; }
};

[[nodiscard]] constexpr checked elements_spanned(kv_strides s, std::int64_t tokens, std::int64_t heads,
                                                 std::int64_t row) noexcept {
  return checked(tokens - 1) * s.token + checked(heads - 1) * s.head + row;
}

template <class T>
[[nodiscard]] inline byte_extent extent_of(const T* base, std::int64_t offset, std::int64_t elements) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(base) + static_cast<std::uintptr_t>(offset) * sizeof(T);
  return {begin, begin + static_cast<std::uintptr_t>(elements) * sizeof(T)};
}

template <class T>
[[nodiscard]] inline status check_pointer(const char* argument, const T* p) noexcept {
  if (!p) return failure(errc::null_pointer, argument, 0, "a pointer to elements");
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  if (address % alignof(T) != 0)
    return failure_bound(errc::misaligned, argument, static_cast<std::int64_t>(address),
                         "an address aligned to its element, in bytes", static_cast<std::int64_t>(alignof(T)));
  return {};
}

/// Whether no two of tokens x heads rows of `row` elements share an element. Heads, being few, are the ones compared.
[[nodiscard]] constexpr bool rows_are_disjoint(kv_strides s, std::int64_t tokens, std::int64_t heads,
                                               std::int64_t row) noexcept {
  if (tokens > 1 && s.token < row) return false;
  if (heads > 1 && s.head < row) return false;
  if (tokens == 1 || heads == 1) return true;
  if (s.token >= saturated(elements_spanned(s, 1, heads, row))) return true;  // token-major
  if (s.head >= saturated(elements_spanned(s, tokens, 1, row))) return true;  // head-major
  for (std::int64_t h = 1; h < heads; ++h) {  // h heads further on: the tokens just below and just above
    const std::int64_t distance = saturated(checked(h) * s.head), below = distance / s.token, rest = distance % s.token;
    if ((below < tokens && rest < row) || (below + 1 < tokens && s.token - rest < row)) return false;
  }
  return true;
}

/// Tokens from position `first` on as what lies side by side in memory: rows of dim elements, or whole tiles of 16.
struct row_units {
  std::int64_t tokens = 0, row = 0;
};
[[nodiscard]] constexpr row_units units(key_order order, std::int64_t first, std::int64_t tokens,
                                        std::int64_t dim) noexcept {
  if (order == key_order::rows) return {tokens, dim};
  return {divide_up(first % tile_tokens + tokens, tile_tokens), dim * tile_tokens};
}

/// Tokens [0, tokens) of `src` into the run whose first token lies at `dst`.
template <storage D, storage S>
inline void write_rows(D* dst, kv_strides d, const S* src, kv_strides s, std::int64_t tokens, std::int64_t heads,
                       std::int64_t dim) noexcept {
  if (d.head == dim && s.head == dim) {  // all heads of a token are one row on both sides
    dim *= heads;
    heads = 1;
  }
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t h = 0; h < heads; ++h)
      convert_row(dst + t * d.token + h * d.head, src + t * s.token + h * s.head, dim);
}

/// The same into dim-major tiles; `slot` is the first token's place in its tile, `tile` that tile's start.
template <storage D, storage S>
inline void write_tiles(D* tile, std::int64_t slot, kv_strides d, const S* src, kv_strides s, std::int64_t tokens,
                        std::int64_t heads, std::int64_t dim) noexcept {
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t h = 0; h < heads; ++h)
      convert_row(tile + token_offset(key_order::tiles, d, slot + t) + h * d.head, src + t * s.token + h * s.head, dim,
                  tile_tokens);
}

[[nodiscard]] constexpr status check_range(const token_range& r, std::int64_t first, std::int64_t end) noexcept {
  if (r.tokens < 0) return failure(errc::invalid_argument, "tokens", r.tokens, "a count of at least 0");
  if (r.position < first)
    return failure_bound(errc::out_of_range, "position", r.position, "at least the sequence's first position", first);
  if ((checked(r.position) + r.tokens).overflowed || r.position + r.tokens > end)
    return failure_bound(errc::out_of_range, "tokens", r.tokens,
                         "tokens that end at or before the cache's end position", end);
  return {};
}

[[nodiscard]] constexpr status check_source(const char* argument, kv_strides s, std::int64_t tokens, std::int64_t heads,
                                            std::int64_t dim) noexcept {
  GQA_TRY(check_strides(argument, s));
  if ((elements_spanned(s, tokens, heads, dim) * 8).overflowed)
    return failure(errc::overflow, argument, s.token, "strides whose bytes fit in 63 bits; this is the token stride");
  return {};
}

}  // namespace detail

[[nodiscard]] constexpr status check_shape(const kv_shape& s) noexcept {
  if (s.kv_heads < 1) return failure(errc::invalid_argument, "kv_heads", s.kv_heads, "a positive count");
  if (s.head_dim < 1) return failure(errc::invalid_argument, "head_dim", s.head_dim, "a positive count");
  if (s.v_head_dim < 1) return failure(errc::invalid_argument, "v_head_dim", s.v_head_dim, "a positive count");
  return {};
}

/// Writes `range` of the cache at `k` and `v` from `source`, whose token 0 is the range's first. K is written before V,
/// so V may lie inside K's rows (latent caches) where the source says so too. Calls on different tokens may run at
/// once. Checks everything before the first byte: sizes, pointers and their alignment, range and page ids, 64-bit
/// overflow, destination rows that overlap each other, and a source that overlaps what is written.
template <storage K, storage V, kv_layout Layout, storage SK, storage SV>
[[nodiscard]] status try_append(K* k, V* v, const Layout& layout, const kv_shape& shape, const token_range& range,
                                const kv_source<SK, SV>& source) noexcept {
  GQA_TRY(check_shape(shape));
  GQA_TRY(layout.check(shape.kv_heads, shape.head_dim, shape.v_head_dim));
  if (range.seq < 0 || range.seq >= layout.sequences())
    return failure_bound(errc::out_of_range, "seq", range.seq, "at least 0 and below the layout's sequences",
                         layout.sequences());
  GQA_TRY(detail::check_range(range, layout.first_position(range.seq), layout.end_position(range.seq)));
  if (range.tokens == 0) return {};
  GQA_TRY(detail::check_pointer("k", k));
  GQA_TRY(detail::check_pointer("v", v));
  GQA_TRY(detail::check_pointer("source.k", source.k));
  GQA_TRY(detail::check_pointer("source.v", source.v));
  const std::int64_t heads = shape.kv_heads, end = range.position + range.tokens;
  GQA_TRY(detail::check_source("source.k_strides", source.k_strides, range.tokens, heads, shape.head_dim));
  GQA_TRY(detail::check_source("source.v_strides", source.v_strides, range.tokens, heads, shape.v_head_dim));
  GQA_TRY(layout.check_tokens(range.seq, range.position, end));

  const key_order order = layout.order();
  const kv_strides ks = layout.k_strides(), vs = layout.v_strides();
  const detail::byte_extent from_k = detail::extent_of(
      source.k, 0, detail::elements_spanned(source.k_strides, range.tokens, heads, shape.head_dim).value);
  const detail::byte_extent from_v = detail::extent_of(
      source.v, 0, detail::elements_spanned(source.v_strides, range.tokens, heads, shape.v_head_dim).value);
  for (std::int64_t at = range.position; at < end;) {
    const kv_run run = layout.run_at(range.seq, at);
    const std::int64_t n = std::min(run.count, end - at), slot = order == key_order::rows ? 0 : at % tile_tokens;
    const detail::row_units whole = detail::units(order, at, run.count, shape.head_dim);
    if (!detail::rows_are_disjoint(ks, whole.tokens, heads, whole.row))
      return failure(errc::overlap, "k_strides", ks.token, "strides that keep keys apart; this is the token stride");
    if (!detail::rows_are_disjoint(vs, run.count, heads, shape.v_head_dim))
      return failure(errc::overlap, "v_strides", vs.token, "strides that keep values apart; this is the token stride");
    const detail::row_units written = detail::units(order, at, n, shape.head_dim);
    const detail::byte_extent to_k =
        detail::extent_of(k, run.k - slot, detail::elements_spanned(ks, written.tokens, heads, written.row).value);
    const detail::byte_extent to_v =
        detail::extent_of(v, run.v, detail::elements_spanned(vs, n, heads, shape.v_head_dim).value);
    if (from_k.overlaps(to_k) || from_k.overlaps(to_v))
      return failure(errc::overlap, "source.k", static_cast<std::int64_t>(from_k.begin),
                     "memory that append does not write");
    if (from_v.overlaps(to_k) || from_v.overlaps(to_v))
      return failure(errc::overlap, "source.v", static_cast<std::int64_t>(from_v.begin),
                     "memory that append does not write");
    at += n;
  }

  for (std::int64_t at = range.position; at < end;) {
    const kv_run run = layout.run_at(range.seq, at);
    const std::int64_t n = std::min(run.count, end - at), done = at - range.position;
    const SK* from = source.k + done * source.k_strides.token;
    if (order == key_order::rows) {
      detail::write_rows(k + run.k, ks, from, source.k_strides, n, heads, shape.head_dim);
    } else {
      const std::int64_t slot = at % tile_tokens;
      detail::write_tiles(k + run.k - slot, slot, ks, from, source.k_strides, n, heads, shape.head_dim);
    }
    detail::write_rows(v + run.v, vs, source.v + done * source.v_strides.token, source.v_strides, n, heads,
                       shape.v_head_dim);
    at += n;
  }
  return {};
}

#if GQA_EXCEPTIONS
/// The same, throwing gqa::error.
template <storage K, storage V, kv_layout Layout, storage SK, storage SV>
void append(K* k, V* v, const Layout& layout, const kv_shape& shape, const token_range& range,
            const kv_source<SK, SV>& source) {
  throw_if_failed(try_append(k, v, layout, shape, range, source));
}
#endif

GQA_NAMESPACE_END
