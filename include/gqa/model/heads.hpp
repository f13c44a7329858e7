// How many query heads share how many KV heads: query head h reads KV head h / group_size.
// GQA: Ainslie et al. 2023 (arXiv 2305.13245), section 2.2; MQA: Shazeer 2019 (arXiv 1911.02150), section 3.
#pragma once

#include <cstdint>

#include "../base/checked.hpp"
#include "../base/status.hpp"

GQA_NAMESPACE_BEGIN

inline constexpr std::int64_t dynamic = -1;  ///< a count known only at run time

/// Static counts: heads<32, 8> is "GQA-8" with 32 query heads.
template <std::int64_t Q = dynamic, std::int64_t G = dynamic>
struct heads {
  static_assert(Q > 0 && G > 0, "q_heads and kv_heads must be positive (or both gqa::dynamic)");
  static_assert(G <= 0 || Q % G == 0, "kv_heads must divide q_heads");
  static constexpr std::int64_t q_heads = Q;
  static constexpr std::int64_t kv_heads = G;
  static constexpr std::int64_t group_size = Q / G;
};

/// Counts known only at run time; the plan checks that kv_heads divides q_heads.
template <>
struct heads<dynamic, dynamic> {
  std::int64_t q_heads = 0;
  std::int64_t kv_heads = 0;
};

using dynamic_heads = heads<>;
template <std::int64_t Q>
using mha = heads<Q, Q>;  ///< multi-head attention: every query head has its own KV head
template <std::int64_t Q>
using mqa = heads<Q, 1>;  ///< multi-query attention: one KV head for all

[[nodiscard]] constexpr status check_heads(std::int64_t q_heads, std::int64_t kv_heads) noexcept {
  if (q_heads <= 0) return failure(errc::invalid_argument, "q_heads", q_heads, "a positive count");
  if (kv_heads <= 0) return failure(errc::invalid_argument, "kv_heads", kv_heads, "a positive count");
  if (q_heads % kv_heads != 0)
    return failure_bound(errc::invalid_argument, "kv_heads", kv_heads, "a divisor of q_heads", q_heads);
  return {};
}

GQA_NAMESPACE_END
