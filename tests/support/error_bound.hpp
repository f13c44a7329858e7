// An a-priori bound of the error of every output element and lse: what the contract (model/arithmetic.hpp) can do at
// worst to the very data of a problem, computed in double. No constant is fitted. With u = 2^-24, tiny = 2^-150 (half
// the smallest f32), gamma(n) = n u / (1 - n u):
//
//  score    A term of q . k passes ceil(d / 8) fmas of its lane and 3 additions, so e = gamma(ceil(d / 8) + 3) times
//           sum |q_d k_d|. Every later operation turns (exact x, error e) into L e + |x| |c' / c - 1|, plus u times
//           what it rounds, plus tiny: L its Lipschitz constant, c' the f32 in place of the constant c. Operations:
//           * scale; * 1 / softcap, tanh (L = 1, relative error 4 u: kernel_test), * softcap; fma(slope, distance);
//           + bias.
//  weight   t = s log2(e) is one more such step, with error e_t; t - n is exact; poly has relative error 1.35 u
//           (accuracy_test, over every float). Hence p = 2^(t - m) (1 + eta) with |eta| <= exp(k) - 1,
//           k = ln 2 e_t + log1p(1.35 u).
//  sums     Powers of two scale exactly. A term of o passes one fma for each visible key of its chunk, c of them at
//           most, and one a level of the merge tree: theta <= gamma(c + depth). A term of l passes the additions of its
//           lane, 4 that fold the lanes, the levels, and the sink: phi <= gamma(min(c, 16) + 4 + depth + 1).
//  quotient With exact weights w (they and the sink's w_s sum up to 1), O = sum w v, v = 0 for the sink:
//             |O' - O| <= (E + U) / (1 - D) (1 + u) + u |O| + tiny
//             E = sum w (|v - O| eta + (1 + eta) (|v| theta + |O| phi))
//             D = sum w ((1 + eta) (1 + phi) - 1) + underflow
//           because O' = N' / L' and N' - O L' = sum w (v - O) (1 + ...), whose exact part vanishes.
//  U        Underflow: a weight below 2^-126 of the maximum, or a state so far below another, counts as 0, once for
//           each key; a subnormal sum rounds by tiny. Relative to the row sum, which is at least 2^(-1/2 - e_t):
//             (2^-125 sum |v| + 2 n tiny) 2^(1/2 + e_t) / sum exp(s - max), and as much times |O| in the row sum.
//  hull     Where rounding alone may turn the order of the weights around, E says nothing. But computed weights are
//           still weights: |O' - O| <= max |v - O| over keys that may weigh anything, plus the roundings of the sums.
//           The lesser of the two holds.
//  lse      -log1p(-D), or the largest k where that is less; the logarithm's 2^-45, double's roundings, u |lse|.
//
// A 16-bit output adds half a unit in its last place. Rows whose scores leave f32 have no bound (infinity).
// Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, chapters 2 to 4 (gamma, running error bounds).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "problem.hpp"

namespace gqa_test {

struct row_bound {
  std::vector<double> out;  ///< [v_head_dim]
  double lse = 0;
};

namespace error_bound_detail {

inline constexpr double u = 0x1p-24, tiny = 0x1p-150, poly_error = 1.35 * u, tanh_error = 4 * u;
inline constexpr double log2_e = 1.4426950408889634, ln_2 = 0.6931471805599453, log2_e_f32 = 0x1.715476p+0;

[[nodiscard]] inline double gamma(double n) { return n * u / (1 - n * u); }

/// An exact value and how far the computed one may be from it.
struct inexact {
  double x = 0, e = 0;

  [[nodiscard]] inexact rounded() const { return {x, e + u * (std::abs(x) + e) + tiny}; }
  /// Times a constant of which f32 holds `held`.
  [[nodiscard]] inexact times(double exact, double held) const {
    return inexact{x * exact, e * std::abs(held) + std::abs(x) * std::abs(held - exact)}.rounded();
  }
};

[[nodiscard]] inline double f32(double x) { return static_cast<float>(x); }

/// A visible key, or the sink.
struct weight {
  std::int64_t key = 0;
  double s = 0;    ///< exact score
  double e_t = 0;  ///< error of t
  [[nodiscard]] double k() const { return ln_2 * e_t + std::log1p(poly_error); }
};

[[nodiscard]] inline weight weigh(std::int64_t key, inexact s) {
  return {key, s.x, s.times(log2_e, log2_e_f32).e};
}

class row {
 public:
  row(const problem& p, std::int64_t b, std::int64_t i, std::int64_t h) : p_(p), b_(b), i_(i), h_(h) {
    std::int64_t in_chunk = 0;
    for (std::int64_t j = 0; j < p.kv_lens[static_cast<std::size_t>(b)]; ++j) {
      if (!p.sees(b, i, h, j)) continue;
      in_chunk = keys_.empty() || keys_.back().key / gqa::chunk_tokens != j / gqa::chunk_tokens ? 1 : in_chunk + 1;
      chunk_keys_ = std::max(chunk_keys_, in_chunk);
      const inexact s = score(j);
      beyond_f32_ = beyond_f32_ || !(std::abs(s.x) + s.e < 2e38);
      keys_.push_back(weigh(j, s));
    }
    all_ = keys_;
    const double sink = p.spec.sinks ? p.sinks[static_cast<std::size_t>(h)] : -infinity;
    if (sink != -infinity) all_.push_back(weigh(-1, {sink, 0}));
  }

  [[nodiscard]] row_bound bound() const {
    row_bound r;
    r.out.assign(static_cast<std::size_t>(p_.v_head_dim()), beyond_f32_ ? infinity : 0);
    r.lse = beyond_f32_ ? infinity : 0;
    if (keys_.empty() || beyond_f32_) return r;
    const weight top = *std::max_element(all_.begin(), all_.end(), [](auto& a, auto& b) { return a.s < b.s; });
    double sum = 0, largest_k = 0, e_top = 0;
    for (const weight& w : all_) {
      sum += std::exp(w.s - top.s);
      largest_k = std::max(largest_k, w.k());
      if (ratio(w, top) > -1) e_top = std::max(e_top, w.e_t);  // may hold the integer maximum
    }
    const double lse = top.s + std::log(sum);
    std::vector<double> share, grown;  // w and w eta
    for (const weight& w : all_) {
      share.push_back(std::exp(w.s - lse));
      grown.push_back(w.k() < 1 ? share.back() * std::expm1(w.k()) : std::exp(w.s - lse + w.k()));
    }

    const std::int64_t first = keys_.front().key / gqa::chunk_tokens, last = keys_.back().key / gqa::chunk_tokens;
    const std::int64_t levels = first == last ? 0 : std::min<std::int64_t>(last - first, gqa::join_level(first, last));
    const double depth = static_cast<double>(levels), c = static_cast<double>(chunk_keys_);
    const double theta = gamma(c + depth), phi = gamma(std::min(c, 16.0) + 4 + depth + 1);

    const double n = static_cast<double>(all_.size()), units = 0x1p-125 * n + 2 * n * tiny;
    const double lost = std::exp2(0.5 + e_top) / sum;  // of the row sum, for each unit lost at the maximum's scale
    double d = units * lost;
    for (std::size_t j = 0; j < all_.size(); ++j) d += share[j] * phi + grown[j] * (1 + phi);
    const double apart = largest_k - std::log1p(-(phi + 2 * units));
    r.lse = lse_error(d < 1 ? std::min(apart, -std::log1p(-d)) : apart, lse);

    std::vector<double> v(all_.size(), 0.0);  // the sink has the value 0
    for (std::int64_t column = 0; column < p_.v_head_dim(); ++column) {
      double o = 0, all_v = 0, max_v = 0;
      for (std::size_t j = 0; j < keys_.size(); ++j) {
        v[j] = value(keys_[j].key, column);
        o += share[j] * v[j];
        all_v += std::abs(v[j]);
        max_v = std::max(max_v, std::abs(v[j]));
      }
      double e = 0, hull = 0, rest = 0;
      for (std::size_t j = 0; j < all_.size(); ++j) {
        const double away = std::abs(v[j] - o), most = ratio(all_[j], top);
        e += away * grown[j] + (share[j] + grown[j]) * (std::abs(v[j]) * theta + std::abs(o) * phi);
        if (most > -70) hull = std::max(hull, away);
        else rest += std::exp(most) * away;
      }
      const double underflow = 0x1p-125 * all_v + 2 * n * tiny + std::abs(o) * units;
      // By the computed row sum, which is at least 2^(-1/2) (1 - 1.35 u) > 1/2.
      double error = (hull + rest + theta * max_v + phi * std::abs(o) + 2 * underflow) / (1 - phi - 2 * units);
      if (d < 1) error = std::min(error, (e + underflow * lost) / (1 - d));
      r.out[static_cast<std::size_t>(column)] = error * (1 + u) + u * std::abs(o) + tiny;
    }
    return r;
  }

 private:
  [[nodiscard]] double value(std::int64_t j, std::int64_t c) const {
    const std::int64_t g = h_ * p_.kv_heads() / p_.q_heads();
    return p_.v[static_cast<std::size_t>(((b_ * p_.kv_len + j) * p_.kv_heads() + g) * p_.v_head_dim() + c)];
  }

  [[nodiscard]] inexact score(std::int64_t j) const {
    const gqa::dynamic_spec& s = p_.spec;
    const std::int64_t dim = p_.head_dim(), g = h_ * p_.kv_heads() / p_.q_heads();
    const double* q = &p_.q[static_cast<std::size_t>(((b_ * p_.q_len + i_) * p_.q_heads() + h_) * dim)];
    const double* k = &p_.k[static_cast<std::size_t>(((b_ * p_.kv_len + j) * p_.kv_heads() + g) * dim)];
    double dot = 0, size = 0;
    for (std::int64_t d = 0; d < dim; ++d) {
      dot += q[d] * k[d];
      size += std::abs(q[d] * k[d]);
    }
    const double lane = static_cast<double>((dim + gqa::score_lanes - 1) / gqa::score_lanes);
    inexact x{dot, gamma(lane + 3) * size + static_cast<double>(dim) * tiny * (1 + gamma(lane + 3))};
    const double scale = s.scale ? *s.scale : 1 / std::sqrt(static_cast<double>(dim));
    x = x.times(scale, f32(scale));
    if (s.softcap > 0) {
      x = x.times(1 / s.softcap, f32(1 / s.softcap));
      const double tanh = std::tanh(x.x);
      x = inexact{tanh, x.e + tanh_error * (std::abs(tanh) + x.e) + 2 * tiny}.times(s.softcap, f32(s.softcap));
    }
    const double distance = static_cast<double>(j - (p_.q_start[static_cast<std::size_t>(b_)] + i_));
    if (s.alibi) {
      const double slope = p_.alibi_slopes[static_cast<std::size_t>(h_)];
      x = inexact{x.x + slope * distance, x.e + std::abs(slope * (f32(distance) - distance))}.rounded();
    }
    if (s.bias) {
      const std::int64_t head = p_.bias_heads == 1 ? 0 : h_;
      x.x += p_.bias[static_cast<std::size_t>(((b_ * p_.bias_heads + head) * p_.q_len + i_) * p_.kv_len + j)];
      x = x.rounded();
    }
    return x;
  }

  /// Logarithm of what w can be at most relative to the computed row sum.
  [[nodiscard]] static double ratio(const weight& w, const weight& top) { return w.s + w.k() - (top.s - top.k()); }
  [[nodiscard]] static double lse_error(double e, double lse) {
    e += 0x1p-45 + 0x1p-51 * (std::abs(lse) + 40);
    return e + u * (std::abs(lse) + e) + tiny;
  }

  const problem& p_;
  const std::int64_t b_, i_, h_;
  std::vector<weight> keys_, all_;
  std::int64_t chunk_keys_ = 0;
  bool beyond_f32_ = false;
};

}  // namespace error_bound_detail

/// Bounds of row (sequence b, query i, head h) of the problem as stored (as_stored). Zero where it sees no key.
[[nodiscard]] inline row_bound error_bound(const problem& p, std::int64_t b, std::int64_t i, std::int64_t h) {
  return error_bound_detail::row(p, b, i, h).bound();
}

}  // namespace gqa_test
