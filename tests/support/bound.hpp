// Compares an answer with the float64 oracle under the bound of CASES.md: with u = 2^-24 and A the row's magnitude,
//   |out error| <= 2 u (1 + A) max|v| (+ half a unit in the last place of a 16-bit out),  |lse error| <= 8 u (1 + A).
#pragma once

#include <cmath>
#include <string>
#include <type_traits>

#include "runner.hpp"

namespace gqa_test {

/// Half the distance between neighbours of type Out around `x`; 0 for f32, whose rounding the bound contains.
template <class Out>
[[nodiscard]] double half_unit(double x) {
  if constexpr (std::is_same_v<Out, float>) {
    return 0;
  } else {
    constexpr int digits = std::is_same_v<Out, gqa::f16> ? 11 : 8;
    constexpr int least_exponent = std::is_same_v<Out, gqa::f16> ? -14 : -126;
    int exponent = 0;
    std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
    return std::ldexp(0.5, std::max(x == 0 ? least_exponent : exponent - 1, least_exponent) - digits + 1);
  }
}

struct comparison {
  double share = 0;   ///< largest error as share of its bound; infinite where the bound is 0 and the error is not
  std::string where;  ///< the first row and element that misses its bound, or empty
  std::int64_t checked = 0;  ///< elements compared

  [[nodiscard]] bool passed() const { return where.empty(); }
  void join(const comparison& other) {
    share = std::max(share, other.share);
    checked += other.checked;
    if (where.empty()) where = other.where;
  }
  /// `rounding`: what the output's own format adds; errors up to it take no share of the bound.
  void add(double got, double want, double bound, double rounding, const char* what, const std::string& at) {
    ++checked;
    if (got == want) return;  // equal infinities too
    const double error = std::abs(got - want) - rounding;
    if (error <= 0) return;
    const double part = bound > 0 && std::isfinite(error) ? error / bound : infinity;
    share = std::max(share, part);
    if (!(part <= 1) && where.empty())
      where = what + at + ": got " + std::to_string(got) + ", expected " + std::to_string(want) + ", error/bound " +
              std::to_string(part);
  }
};

/// `p` holds the inputs as stored (as_stored) and `r` the oracle's answer on it. Checks the canaries of unused rows
/// too.
template <class Out>
[[nodiscard]] comparison compare(const problem& p, const gqa::reference_result& r, const answer<Out>& a) {
  comparison c;
  const std::int64_t v_dim = p.v_head_dim();
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_len; ++i)
      for (std::int64_t h = 0; h < p.q_heads(); ++h) {
        const std::int64_t row = r.row(b, i, h);
        const bool used = i < p.q_lens[static_cast<std::size_t>(b)];
        const std::string at = "[" + std::to_string(b) + "][" + std::to_string(i) + "][" + std::to_string(h) + "]";
        for (std::int64_t d = 0; d < v_dim; ++d) {
          const auto got = static_cast<double>(static_cast<float>(a.out[static_cast<std::size_t>(row * v_dim + d)]));
          const double want = used ? r.out(row, d) : static_cast<double>(static_cast<float>(static_cast<Out>(canary)));
          const double bound = used ? r.out_bound(row) : 0;
          c.add(got, want, bound, used ? half_unit<Out>(std::abs(want) + bound) : 0, "out", at);
          if (used && got == 0 && std::signbit(got)) c.add(got, nan, 0, 0, "sign of 0 in out", at);
        }
        if (p.spec.lse)
          c.add(a.lse[static_cast<std::size_t>(row)], used ? r.lse[row] : static_cast<double>(canary),
                used ? r.lse_bound(row) : 0, 0, "lse", at);
      }
  return c;
}

}  // namespace gqa_test
