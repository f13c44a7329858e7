// A cell: one attention problem to be measured, and how much work it is.
//
//   flops = 2 (head_dim + v_head_dim) per visible (query, key, query head); softmax is not counted
//   bytes = each K and V row that some query sees, once; a row that V shares with K once
//   limit = max(bytes / read bandwidth, flops / FMA peak)
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gqa/isa/detect.hpp>
#include <gqa/kv/contiguous.hpp>
#include <gqa/kv/paged.hpp>
#include <gqa/model/spec.hpp>
#include <gqa/model/visibility.hpp>

namespace bench {

enum class cache_layout : std::uint8_t { token_major, head_major, tiled, paged_token_major, paged_head_major };

inline constexpr cache_layout all_layouts[] = {cache_layout::token_major, cache_layout::head_major, cache_layout::tiled,
                                               cache_layout::paged_token_major, cache_layout::paged_head_major};
inline constexpr gqa::element all_elements[] = {gqa::element::f32, gqa::element::f16, gqa::element::bf16};

[[nodiscard]] constexpr const char* name(cache_layout l) noexcept {
  switch (l) {
    case cache_layout::token_major: return "token_major";
    case cache_layout::head_major: return "head_major";
    case cache_layout::tiled: return "tiled";
    case cache_layout::paged_token_major: return "paged_token_major";
    case cache_layout::paged_head_major: return "paged_head_major";
  }
  return "unknown";
}

[[nodiscard]] constexpr bool is_paged(cache_layout l) noexcept {
  return l == cache_layout::paged_token_major || l == cache_layout::paged_head_major;
}

struct cell {
  std::int64_t q_heads = 32, kv_heads = 8, head_dim = 128, v_head_dim = 128;
  std::int64_t q_len = 1, kv_len = 4096, batch = 1;
  gqa::element q_type = gqa::element::f32, k_type = gqa::element::f32, v_type = gqa::element::f32;
  cache_layout layout = cache_layout::token_major;
  std::int64_t page_size = 16;
  int threads = 1;
  std::optional<gqa::isa> target{};
  bool hot = false;                    ///< one cache, read again and again
  bool huge_pages = false;             ///< ask for transparent huge pages
  std::int64_t window = gqa::no_window;
  bool sinks = false;
  bool v_in_k = false;                 ///< V is the first v_head_dim elements of each K row (latent attention)
  std::vector<std::int64_t> kv_lens{};  ///< ragged: a length for each sequence; else kv_len for all
  bool one_by_one = false;             ///< a plan and a run for each sequence: the parts of a batch

  [[nodiscard]] std::int64_t length(std::int64_t seq) const {
    return kv_lens.empty() ? kv_len : kv_lens[static_cast<std::size_t>(seq)];
  }
  [[nodiscard]] std::int64_t longest() const {
    return kv_lens.empty() ? kv_len : *std::max_element(kv_lens.begin(), kv_lens.end());
  }
  /// Tokens that a sequence has room for: whole tiles and whole pages.
  [[nodiscard]] std::int64_t capacity() const {
    const std::int64_t unit = is_paged(layout) ? page_size : layout == cache_layout::tiled ? gqa::tile_tokens : 1;
    return (longest() + unit - 1) / unit * unit;
  }
  [[nodiscard]] gqa::visibility visible() const { return {true, window, 0}; }
  [[nodiscard]] gqa::dynamic_spec spec() const {
    gqa::dynamic_spec s;
    s.heads = {q_heads, kv_heads};
    s.dims = {head_dim, v_head_dim};
    s.window = window;
    s.sinks = sinks;
    return s;
  }
};

struct work {
  double flops = 0;
  double bytes = 0;
};

/// Positions [first, last) of sequence `seq` that some query sees (no sink tokens in a cell, so one interval).
struct token_range {
  std::int64_t first = 0, last = 0;
};

[[nodiscard]] inline token_range visible_tokens(const cell& c, std::int64_t seq) {
  const std::int64_t len = c.length(seq), start = len - c.q_len;
  const gqa::visible_keys keys = c.visible().of_any(std::max<std::int64_t>(start, 0), len - 1, len);
  return {keys.begin, keys.end};
}

[[nodiscard]] inline work work_of(const cell& c) {
  double pairs = 0, tokens = 0;
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const std::int64_t len = c.length(b), start = len - c.q_len;
    for (std::int64_t i = 0; i < c.q_len; ++i) pairs += static_cast<double>(c.visible().of(start + i, len).count());
    const token_range seen = visible_tokens(c, b);
    tokens += static_cast<double>(seen.last - seen.first);
  }
  const std::int64_t row = c.head_dim * gqa::bytes_of(c.k_type) + (c.v_in_k ? 0 : c.v_head_dim * gqa::bytes_of(c.v_type));
  return {2.0 * static_cast<double>(c.head_dim + c.v_head_dim) * pairs * static_cast<double>(c.q_heads),
          tokens * static_cast<double>(c.kv_heads * row)};
}

/// "32/8 x 128, q 1, kv 4096, f32, token_major, 1 thread": for people.
[[nodiscard]] inline std::string describe(const cell& c) {
  using std::to_string;
  std::string s = to_string(c.q_heads) + "/" + to_string(c.kv_heads) + " x " + to_string(c.head_dim);
  if (c.v_head_dim != c.head_dim) s += "/" + to_string(c.v_head_dim);
  if (c.batch > 1) s += ", batch " + to_string(c.batch);
  if (c.q_len > 1) s += ", q " + to_string(c.q_len);
  s += c.kv_lens.empty() ? ", kv " + to_string(c.kv_len) : ", ragged to " + to_string(c.longest());
  if (c.window >= 0) s += ", window " + to_string(c.window);
  if (c.sinks) s += ", sinks";
  s += std::string(", ") + gqa::name(c.k_type);
  if (c.v_type != c.k_type) s += std::string("/") + gqa::name(c.v_type);
  s += std::string(", ") + name(c.layout);
  if (is_paged(c.layout)) s += " " + to_string(c.page_size);
  if (c.v_in_k) s += ", V in K";
  if (c.hot) s += ", hot";
  if (c.one_by_one) s += ", one by one";
  return s + ", " + to_string(c.threads) + (c.threads == 1 ? " thread" : " threads");
}

/// Refuses what no run could mean, naming argument, value and expectation; the plan checks the rest.
[[nodiscard]] inline gqa::status check(const cell& c) noexcept {
  using gqa::errc;
  using gqa::failure;
  GQA_TRY(gqa::check(c.spec()));
  if (c.q_len < 1) return failure(errc::invalid_argument, "q_len", c.q_len, "at least 1");
  if (c.kv_len < 1) return failure(errc::invalid_argument, "kv_len", c.kv_len, "at least 1");
  if (c.batch < 1) return failure(errc::invalid_argument, "batch", c.batch, "at least 1");
  if (c.kv_lens.empty() && c.q_len > c.kv_len)
    return gqa::failure_bound(errc::invalid_argument, "q_len", c.q_len, "at most kv_len", c.kv_len);
  if (is_paged(c.layout) && c.page_size < 1) return failure(errc::invalid_argument, "page_size", c.page_size, "at least 1");
  if (c.threads < 1 || c.threads > 4096) return failure(errc::invalid_argument, "threads", c.threads, "1 to 4096");
  if (c.target && !gqa::is_supported(*c.target))
    return failure(errc::unsupported, "isa", static_cast<std::int64_t>(*c.target),
                   "a target that this machine runs (0 portable, 1 avx2, 2 avx512, 3 neon)");
  if (c.v_in_k && (c.k_type != c.v_type || c.v_head_dim > c.head_dim))
    return gqa::failure_bound(errc::invalid_argument, "v_head_dim", c.v_head_dim,
                              "at most head_dim, and V of K's type, where V lies in K", c.head_dim);
  if (c.v_in_k && c.layout != cache_layout::token_major)
    return failure(errc::unsupported, "v_in_k", 1, "layout token_major");
  return {};
}

}  // namespace bench
