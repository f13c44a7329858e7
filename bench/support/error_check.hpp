// The largest error of a problem's current output against the float64 reference, on a sample that keeps it quick: the
// first and the last KV head of the first sequence, up to four of the query heads that share it, the last four queries.
#pragma once

#include <cmath>

#include <gqa/reference.hpp>

#include "problem.hpp"

namespace bench {

struct sampled_error {
  double largest = 0;         ///< |out - reference|
  double share_of_bound = 0;  ///< of what f32 arithmetic may do to that row: 2 u (1 + A) max|v|
};

namespace detail {

template <class T>
[[nodiscard]] gqa::real_view view_of(const std::byte* base, std::int64_t at, gqa::real_view::strides s) {
  return {reinterpret_cast<const T*>(base) + at, s};
}

/// Element `at` onwards of a buffer of `type`.
[[nodiscard]] inline gqa::real_view view_as(gqa::element type, const std::byte* base, std::int64_t at,
                                            gqa::real_view::strides s) {
  switch (type) {
    case gqa::element::f16: return view_of<gqa::f16>(base, at, s);
    case gqa::element::bf16: return view_of<gqa::bf16>(base, at, s);
    default: return view_of<float>(base, at, s);
  }
}

}  // namespace detail

/// Contiguous caches with K in rows only; throws gqa::error on others.
[[nodiscard]] inline sampled_error check_output(const problem& p) {
  const cell& c = p.of();
  if (is_paged(c.layout) || c.layout == cache_layout::tiled || c.q_type != gqa::element::f32)
    gqa::throw_if_failed(gqa::failure(gqa::errc::unsupported, "layout", static_cast<std::int64_t>(c.layout),
                                      "token_major or head_major, and an f32 output, to be checked"));
  const auto layout = std::get<gqa::contiguous_layout>(p.memory().layout(0, c.batch));
  const gqa::kv_strides ks = layout.k_strides(), vs = layout.v_strides();
  const std::int64_t group = c.q_heads / c.kv_heads, sample = std::min<std::int64_t>(group, 4);
  const std::int64_t queries = std::min<std::int64_t>(c.q_len, 4), skipped = c.q_len - queries;
  const std::int64_t cache = p.last_cache();
  sampled_error worst;
  for (std::int64_t g : {std::int64_t{0}, c.kv_heads - 1}) {
    const std::int64_t head = g * group;
    gqa::reference_problem r;
    r.spec = c.spec();
    r.spec.heads = {sample, 1};
    r.q_len = queries;
    r.kv_lens = c.length(0);
    r.q = detail::view_as(c.q_type, p.memory().q(), (skipped * c.q_heads + head) * c.head_dim,
                          {0, c.q_heads * c.head_dim, c.head_dim, 1});
    r.k = detail::view_as(c.k_type, p.memory().k(cache), g * ks.head, {0, ks.token, ks.head, 1});
    r.v = detail::view_as(c.v_type, p.memory().v(cache), g * vs.head, {0, vs.token, vs.head, 1});
    if (c.sinks) r.sinks = gqa::real_view(p.memory().sinks() + head);
    gqa::reference_result want;
    gqa::throw_if_failed(gqa::reference_attention(r, want));
    const auto* out = reinterpret_cast<const float*>(p.memory().out());
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t h = 0; h < sample; ++h) {
        const std::int64_t row = want.row(0, i, h);
        const float* got = out + ((skipped + i) * c.q_heads + head + h) * c.v_head_dim;
        for (std::int64_t d = 0; d < c.v_head_dim; ++d) {
          const double error = std::abs(static_cast<double>(got[d]) - want.out(row, d));
          worst.largest = std::max(worst.largest, std::isnan(error) ? INFINITY : error);
          worst.share_of_bound = std::max(worst.share_of_bound, worst.largest == INFINITY ? INFINITY : error / want.out_bound(row));
        }
      }
  }
  return worst;
}

}  // namespace bench
