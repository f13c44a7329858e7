// Where the keys and values of a (sequence, KV head, token) lie: the one abstraction under every cache.
//
//   address of K element d of token t, head h  =  k + run.k + (t - run.first) * k.token + h * k.head + d
//
// for the run that holds t: tokens that lie at one stride. A contiguous cache is one run a sequence, a page is a run,
// a wrapped ring is two. A layout knows no element type and no pointer; all its numbers count elements.
// How the elements are stored is a separate choice (base/storage.hpp), as is the order inside a key (key_order).
#pragma once

#include <concepts>
#include <cstdint>

#include "../base/checked.hpp"
#include "../base/status.hpp"

GQA_NAMESPACE_BEGIN

/// Tokens that lie at one stride from `first` on.
struct kv_run {
  std::int64_t first = 0;  ///< position of the first token
  std::int64_t count = 0;  ///< tokens, at least 1
  std::int64_t k = 0;      ///< element offset in K of (first, KV head 0)
  std::int64_t v = 0;      ///< element offset in V of (first, KV head 0)
};

/// Order of the elements inside K.
enum class key_order : std::uint8_t {
  rows,   ///< [token][head_dim]: one key is head_dim consecutive elements
  tiles,  ///< [token / 16][head_dim][16]: dim-major tiles of 16 tokens; no transpose is needed to multiply many keys
};

inline constexpr std::int64_t tile_tokens = 16;  ///< tokens in a dim-major tile

/// Element strides of one of K and V inside a run; >= 0. In tiles, `token` is the stride of a whole tile of 16 tokens.
struct kv_strides {
  std::int64_t token = 0;
  std::int64_t head = 0;
};

/// Offset of token `slot` (counted from a tile's start) under `order`.
[[nodiscard]] constexpr std::int64_t token_offset(key_order order, kv_strides s, std::int64_t slot) noexcept {
  return order == key_order::rows ? slot * s.token : slot / tile_tokens * s.token + slot % tile_tokens;
}

/// What the operator asks of a layout. All members are cheap and noexcept; `run_at` is called once a run and block.
/// In tiles, `run_at` of a position inside a tile returns the offset of (tile, slot): the tile's start plus slot.
template <class L>
concept kv_layout = std::copyable<L> && requires(const L layout, std::int64_t n) {
  { layout.sequences() } -> std::convertible_to<std::int64_t>;        // sequences it holds
  { layout.first_position(n) } -> std::convertible_to<std::int64_t>;  // earliest token that sequence n still has
  { layout.end_position(n) } -> std::convertible_to<std::int64_t>;    // one past the last position it has room for
  { layout.run_at(n, n) } -> std::same_as<kv_run>;                    // (sequence, position) -> run from there on
  { layout.k_strides() } -> std::same_as<kv_strides>;
  { layout.v_strides() } -> std::same_as<kv_strides>;
  { layout.order() } -> std::same_as<key_order>;
  { layout.check(n, n, n) } -> std::same_as<status>;         // (kv_heads, head_dim, v_head_dim)
  { layout.check_tokens(n, n, n) } -> std::same_as<status>;  // (sequence, begin, end) are all mapped
  { layout.k_extent(n, n) } -> std::same_as<checked>;        // (kv_heads, head_dim) -> elements of K spanned
  { layout.v_extent(n, n) } -> std::same_as<checked>;        // (kv_heads, v_head_dim)
};

/// A layout with the memory behind it: what an engine hands to the one-line form.
template <class K, class V, kv_layout Layout>
struct kv_view {
  const K* k = nullptr;
  const V* v = nullptr;
  Layout layout;
};

/// Strides must be non-negative and rows must not wrap 64 bits.
[[nodiscard]] constexpr status check_strides(const char* argument, kv_strides s) noexcept {
  if (s.token < 0) return failure(errc::invalid_argument, argument, s.token, "a token stride of at least 0");
  if (s.head < 0) return failure(errc::invalid_argument, argument, s.head, "a head stride of at least 0");
  return {};
}

GQA_NAMESPACE_END
