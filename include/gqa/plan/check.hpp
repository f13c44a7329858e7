// Checks of a plan's arguments. Every precondition of the walk and the kernels is established here, once, before a run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "../kv/layout.hpp"
#include "../model/spec.hpp"
#include "../model/visibility.hpp"
#include "request.hpp"
#include "work.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Resolved lengths of sequence b.
[[nodiscard]] inline sequence_work lengths_of(const batch_spec& batch, std::int64_t b) noexcept {
  sequence_work w;
  w.q_len = batch.q_lens[b];
  w.kv_len = batch.kv_lens[b];
  w.q_start = batch.q_start.present() ? batch.q_start[b] : w.kv_len - w.q_len;
  return w;
}

/// The lengths of a batch against the spec, the layout and the planned capacities.
template <kv_layout Layout>
[[nodiscard]] status check_batch(const dynamic_spec& spec, const batch_spec& batch, const Layout& layout,
                                 const plan_options& capacity) noexcept {
  if (batch.size < 0)
    return failure(errc::invalid_argument, "batch", batch.size, "a number of sequences of at least 0");
  if (batch.size > capacity.max_batch)
    return failure_bound(errc::out_of_range, "batch", batch.size, "at most the planned max_batch", capacity.max_batch);
  if (batch.size > layout.sequences())
    return failure_bound(errc::out_of_range, "batch", batch.size, "at most the cache's sequences", layout.sequences());
  if (!batch.q_lens.covers(batch.size))
    return failure_bound(errc::invalid_argument, "q_lens", batch.q_lens.size(), "one length a sequence", batch.size);
  if (!batch.kv_lens.present())
    return failure(errc::invalid_argument, "kv_lens", 0, "the tokens of each sequence; it is absent");
  if (!batch.kv_lens.covers(batch.size))
    return failure_bound(errc::invalid_argument, "kv_lens", batch.kv_lens.size(), "one length a sequence", batch.size);
  if (batch.q_start.present() && !batch.q_start.covers(batch.size))
    return failure_bound(errc::invalid_argument, "q_start", batch.q_start.size(), "one position a sequence",
                         batch.size);

  for (std::int64_t b = 0; b < batch.size; ++b) {
    const std::int64_t q_len = batch.q_lens[b], kv_len = batch.kv_lens[b];
    if (q_len < 0) return failure(errc::out_of_range, "q_lens", q_len, "at least 0", b);
    if (q_len > capacity.max_q_len)
      return failure_bound(errc::out_of_range, "q_lens", q_len, "at most the planned max_q_len", capacity.max_q_len, b);
    if (kv_len < 0) return failure(errc::out_of_range, "kv_lens", kv_len, "at least 0", b);
    if (kv_len > layout.end_position(b))
      return failure_bound(errc::out_of_range, "kv_lens", kv_len, "at most the cache's capacity",
                           layout.end_position(b), b);
    if (kv_len > capacity.max_kv_len)
      return failure_bound(errc::out_of_range, "kv_lens", kv_len, "at most the planned max_kv_len", capacity.max_kv_len,
                           b);
    // Queries of cross attention may stand before the first key; positions keep their differences within 64 bits.
    constexpr std::int64_t furthest = std::int64_t{1} << 61;
    const std::int64_t lowest = spec.causal ? 0 : -furthest;
    if (batch.q_start.present() && (batch.q_start[b] < lowest || batch.q_start[b] > furthest))
      return failure_bound(errc::out_of_range, "q_start", batch.q_start[b], "a position up to 2^61, and at least",
                           lowest, b);
    if (!batch.q_start.present() && spec.causal && q_len > kv_len)
      return failure_bound(errc::out_of_range, "q_lens", q_len, "at most kv_len where attention is causal", kv_len, b);
    if (q_len == 0) continue;

    const sequence_work w = lengths_of(batch, b);
    const visibility visible{spec.causal, spec.window, spec.sink_tokens};
    const visible_keys keys = visible.of_any(w.q_start, w.q_start + q_len - 1, kv_len);
    if (keys.count() == 0) continue;
    const std::int64_t first = keys.sink_end > 0 ? 0 : keys.begin;
    if (first < layout.first_position(b))
      return failure_bound(errc::out_of_range, "first_positions", layout.first_position(b),
                           "at most the earliest position that a query sees", first, b);
    GQA_TRY(layout.check_tokens(b, 0, keys.sink_end));
    GQA_TRY(layout.check_tokens(b, keys.begin, keys.end));
  }
  return {};
}

[[nodiscard]] inline std::int64_t longest_q_len(const batch_spec& batch) noexcept {
  std::int64_t longest = 0;
  for (std::int64_t b = 0; b < batch.size; ++b) longest = std::max<std::int64_t>(longest, batch.q_lens[b]);
  return longest;
}

/// Dense strides [size][longest q_len][q_heads][dim] where the caller gave none.
[[nodiscard]] inline row_layout resolve(const std::optional<row_layout>& given, std::int64_t longest,
                                        std::int64_t q_heads, std::int64_t dim) noexcept {
  if (given) return *given;
  const checked token = checked(q_heads) * dim;
  return {saturated(token * longest), saturated(token), dim, {}};
}

/// Elements of q, out or lse that the batch spans; refuses negative strides and, for outputs, rows that share elements.
[[nodiscard]] inline status check_rows(const char* name, const row_layout& l, const batch_spec& batch,
                                       std::int64_t q_heads, std::int64_t dim, bool is_output, std::int64_t* sorted,
                                       std::int64_t& extent) noexcept {
  if (l.batch < 0 || l.token < 0 || l.head < 0)
    return failure(errc::invalid_argument, name, std::min({l.batch, l.token, l.head}), "strides of at least 0");
  const bool packed = l.first_token.present();
  if (packed && !l.first_token.covers(batch.size))
    return failure_bound(errc::invalid_argument, name, l.first_token.size(), "a first_token for each sequence",
                         batch.size);
  checked all = 0;
  std::int64_t rows = 0;                   // longest q_len
  std::int64_t low = INT64_MAX, high = 0;  // packed: the tokens that all sequences together lie in
  for (std::int64_t b = 0; b < batch.size; ++b) {
    const std::int64_t q_len = batch.q_lens[b];
    if (packed && l.first_token[b] < 0)
      return failure(errc::out_of_range, name, l.first_token[b], "a first_token of at least 0", b);
    if (q_len == 0) continue;
    const checked start = packed ? checked(l.first_token[b]) * l.token : checked(b) * l.batch;
    const checked end = start + checked(q_len - 1) * l.token + checked(q_heads - 1) * l.head + dim;
    if ((end * 8).overflowed) return failure(errc::overflow, name, q_len, "strides whose bytes fit in 63 bits", b);
    all = std::max(all.value, end.value);
    rows = std::max(rows, q_len);
    if (packed) {
      low = std::min<std::int64_t>(low, l.first_token[b]);
      high = std::max(high, saturated(checked(l.first_token[b]) + q_len));
    }
  }
  extent = all.value;
  if (!is_output || rows == 0) return {};

  // Rows of an output are distinct where each stride steps over everything inside it.
  struct level {
    std::int64_t count, stride;
  } levels[3] = {{q_heads, l.head}, {packed ? high - low : rows, l.token}, {packed ? 1 : batch.size, l.batch}};
  std::sort(levels, levels + 3, [](const level& a, const level& b) { return a.stride < b.stride; });
  checked inner = dim;
  for (const level& s : levels) {
    if (s.count <= 1) continue;
    if (inner.overflowed || s.stride < inner.value)
      return failure_bound(errc::overlap, name, s.stride, "strides that keep its rows apart: at least",
                           saturated(inner));
    inner = inner + checked(s.count - 1) * s.stride;
  }
  if (!packed) return {};
  // Packed sequences are apart where each begins after the one before it ends.
  std::int64_t n = 0;
  for (std::int64_t b = 0; b < batch.size; ++b)
    if (batch.q_lens[b] > 0) sorted[n++] = b;
  std::sort(sorted, sorted + n, [&](std::int64_t a, std::int64_t b) { return l.first_token[a] < l.first_token[b]; });
  for (std::int64_t i = 1; i < n; ++i) {
    const std::int64_t end = l.first_token[sorted[i - 1]] + batch.q_lens[sorted[i - 1]];
    if (l.first_token[sorted[i]] < end)
      return failure_bound(errc::overlap, name, l.first_token[sorted[i]],
                           "first_token past the queries of the sequence before it", end, sorted[i]);
  }
  return {};
}

/// Elements of bias or mask that the batch spans.
[[nodiscard]] inline status check_scores(const char* name, const score_layout& l, const batch_spec& batch,
                                         std::int64_t q_heads, std::int64_t& extent) noexcept {
  const std::int64_t smallest = std::min({l.batch, l.head, l.query, l.key});
  if (smallest < 0) return failure(errc::invalid_argument, name, smallest, "strides of at least 0");
  checked all = 0;
  for (std::int64_t b = 0; b < batch.size; ++b) {
    if (batch.q_lens[b] == 0 || batch.kv_lens[b] == 0) continue;
    const checked end = checked(b) * l.batch + checked(q_heads - 1) * l.head + checked(batch.q_lens[b] - 1) * l.query +
                        checked(batch.kv_lens[b] - 1) * l.key + 1;
    if ((end * 8).overflowed) return failure(errc::overflow, name, l.query, "strides whose bytes fit in 63 bits", b);
    all = std::max(all.value, end.value);
  }
  extent = all.value;
  return {};
}

/// One tensor of a run: where it is and how many bytes it spans.
struct span_bytes {
  const char* name;
  const void* data;
  std::int64_t bytes;
  std::int64_t alignment;
  bool wanted;
};

[[nodiscard]] inline status check_pointer(const span_bytes& t) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(t.data);
  if (!t.wanted && t.data)
    return failure(errc::invalid_argument, t.name, static_cast<std::int64_t>(address),
                   "null, since the plan's spec leaves this feature off");
  if (t.wanted && !t.data && t.bytes > 0) return failure(errc::null_pointer, t.name, 0, "a pointer");
  if (address % static_cast<std::uintptr_t>(t.alignment) != 0)
    return failure_bound(errc::misaligned, t.name, static_cast<std::int64_t>(address),
                         "an address aligned to its element", t.alignment);
  return {};
}

[[nodiscard]] inline bool overlap(const span_bytes& a, const span_bytes& b) noexcept {
  if (!a.data || !b.data || a.bytes == 0 || b.bytes == 0) return false;
  const auto x = reinterpret_cast<std::uintptr_t>(a.data), y = reinterpret_cast<std::uintptr_t>(b.data);
  return x < y ? y - x < static_cast<std::uintptr_t>(a.bytes) : x - y < static_cast<std::uintptr_t>(b.bytes);
}

/// Every pointer is as it should be, and nothing that is written shares bytes with anything else.
[[nodiscard]] inline status check_tensors(std::span<const span_bytes> read,
                                          std::span<const span_bytes> written) noexcept {
  for (const span_bytes& t : read) GQA_TRY(check_pointer(t));
  for (const span_bytes& t : written) GQA_TRY(check_pointer(t));
  for (const span_bytes& w : written) {
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(w.data));
    for (const span_bytes& r : read)
      if (overlap(w, r)) return failure(errc::overlap, w.name, address, "memory apart from the inputs");
    for (const span_bytes& o : written)
      if (&o != &w && overlap(w, o))
        return failure(errc::overlap, w.name, address, "memory apart from the other outputs");
  }
  return {};
}

}  // namespace detail

GQA_NAMESPACE_END
