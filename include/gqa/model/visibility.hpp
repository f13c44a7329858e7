// Which keys a query sees, as intervals of absolute positions. Query at position i, keys of [0, kv_len):
//
//   causal: key <= i;   window w: key > i - w;   sink_tokens n: key < n stays visible whatever the window
//
// so the visible keys are [0, sink_end) and [begin, end), the first ending before the second starts.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../base/config.hpp"

GQA_NAMESPACE_BEGIN

struct visible_keys {
  std::int64_t sink_end = 0;        ///< [0, sink_end)
  std::int64_t begin = 0, end = 0;  ///< [begin, end); empty where begin == end

  [[nodiscard]] constexpr std::int64_t count() const noexcept { return sink_end + end - begin; }
  [[nodiscard]] constexpr bool sees(std::int64_t key) const noexcept {
    return (key >= 0 && key < sink_end) || (key >= begin && key < end);
  }
  /// Whether [first, last) lies in one of the intervals, or in both where they touch.
  [[nodiscard]] constexpr bool sees_all(std::int64_t first, std::int64_t last) const noexcept {
    if (sink_end == begin && sink_end > 0) return first >= 0 && last <= end;
    return (first >= 0 && last <= sink_end) || (first >= begin && last <= end);
  }
};

struct visibility {
  bool causal = true;
  std::int64_t window = -1;
  std::int64_t sink_tokens = 0;

  [[nodiscard]] constexpr visible_keys of(std::int64_t query, std::int64_t kv_len) const noexcept {
    visible_keys v;
    v.end = causal ? std::clamp<std::int64_t>(query + 1, 0, kv_len) : kv_len;
    v.begin = window < 0 || query < window ? 0 : std::min(query - window + 1, v.end);
    v.sink_end = std::min({sink_tokens, v.begin, v.end});
    return v;
  }

  /// What some query at [first, last] sees: a superset made of the same two intervals.
  [[nodiscard]] constexpr visible_keys of_any(std::int64_t first, std::int64_t last,
                                              std::int64_t kv_len) const noexcept {
    const visible_keys a = of(first, kv_len), b = of(last, kv_len);
    visible_keys v;
    v.begin = std::min(a.begin, b.begin);
    v.end = std::max(a.end, b.end);
    if (causal && window == 0) v.begin = v.end;  // nobody sees what lies between
    v.sink_end = std::min(std::max(a.sink_end, b.sink_end), v.begin);
    return v;
  }
};

GQA_NAMESPACE_END
