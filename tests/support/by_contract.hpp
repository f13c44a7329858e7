// The contract of model/arithmetic.hpp written out, one scalar operation after another: every bit of the answer,
// without the library's kernels, plans or layouts. (Only ln, which is in double, is the library's.)
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <gqa/kernel/regions.hpp>
#include <vector>

#include "runner.hpp"

namespace gqa_test {

namespace by_contract_detail {

/// 2 * 2^f for |f| <= 1/2.
inline float twice_exp2(float f) {
  float p = 0x1.41fbbcp-12f;
  for (const float c : {0x1.5f3e54p-9f, 0x1.3b2d4cp-6f, 0x1.c6aee8p-4f, 0x1.ebfbdcp-2f, 0x1.62e430p+0f, 2.0f})
    p = std::fma(p, f, c);
  return p;
}
/// 2^k * x of 2 x for an integral k <= 0.
inline float scaled(float twice_x, float k) { return k <= -126 ? 0.0f : std::ldexp(twice_x, static_cast<int>(k) - 1); }
inline float power_of_two(float k) { return scaled(2, k); }

inline float tanh(float x) {
  const float a = std::fabs(x), z = a * a;
  float y = 0;
  if (a < 0.625f) {
    float p = -0x1.76ac0ep-8f;
    for (const float c : {0x1.5256d4p-6f, -0x1.b84448p-5f, 0x1.110768p-3f, -0x1.555534p-2f}) p = std::fma(p, z, c);
    const float pz = p * z;
    y = std::fma(pz, a, a);
  } else {
    const float t = std::max(-46.0f, 2.0f * 0x1.715476p+0f * -a), n = std::nearbyint(t);
    const float e = scaled(twice_exp2(t - n), n);
    y = (1.0f - e) / (1.0f + e);
  }
  return std::copysign(y, x);
}

struct exponent {
  float n = 0, f = 0;
  explicit exponent(float s) {
    const float t = std::max(s * 0x1.715476p+0f, -__FLT_MAX__);
    n = std::nearbyint(t);
    f = t - n;
  }
};

struct state {
  std::vector<float> o;
  float m = -INFINITY, l = 0;
  [[nodiscard]] bool empty() const { return m == -INFINITY; }
};

inline state merge(const state& a, const state& b) {
  if (a.empty() || b.empty()) return a.empty() ? b : a;
  const state &big = a.m >= b.m ? a : b, &small = a.m >= b.m ? b : a;
  const float factor = power_of_two(small.m - big.m);
  state out = big;
  out.l = std::fma(small.l, factor, big.l);
  for (std::size_t d = 0; d < out.o.size(); ++d) out.o[d] = std::fma(small.o[d], factor, big.o[d]);
  return out;
}

class row {
 public:
  row(const problem& p, std::int64_t b, std::int64_t i, std::int64_t h) : p_(p), b_(b), i_(i), h_(h) {
    const auto kv_len = p.kv_lens[static_cast<std::size_t>(b)];
    int levels = 0;
    while ((gqa::chunk_tokens << levels) < kv_len) ++levels;
    total_ = node(levels, 0);
    const float sink = p.spec.sinks ? static_cast<float>(p.sinks[static_cast<std::size_t>(h)]) : -INFINITY;
    if (total_.empty() || sink == -INFINITY) {
      lse = total_.empty() ? sink : log_of_sum();
      return;
    }
    const exponent e(sink);
    state s;
    s.o.assign(total_.o.size(), 0.0f);
    s.m = e.n;
    s.l = scaled(twice_exp2(e.f), 0);
    total_ = merge(total_, s);
    lse = log_of_sum();
  }

  float lse = 0;
  [[nodiscard]] float out(std::int64_t d) const {
    return total_.empty() ? 0.0f : total_.o[static_cast<std::size_t>(d)] / total_.l + 0.0f;
  }

 private:
  [[nodiscard]] float log_of_sum() const {
    return static_cast<float>(static_cast<double>(total_.m) * 0x1.62e42fefa39efp-1 + gqa::portable::ln_of(total_.l));
  }

  /// Chunks [i * 2^level, (i + 1) * 2^level).
  [[nodiscard]] state node(int level, std::int64_t i) const {
    return level == 0 ? chunk(i) : merge(node(level - 1, 2 * i), node(level - 1, 2 * i + 1));
  }

  [[nodiscard]] state chunk(std::int64_t index) const {
    state s;
    s.o.assign(static_cast<std::size_t>(p_.v_head_dim()), 0.0f);
    float lane[gqa::sum_lanes] = {};
    const std::int64_t begin = index * gqa::chunk_tokens;
    const std::int64_t end = std::min(begin + gqa::chunk_tokens, p_.kv_lens[static_cast<std::size_t>(b_)]);
    for (std::int64_t block = begin; block < end; block += gqa::block_keys)
      add_block(s, lane, block, std::min(block + gqa::block_keys, end));
    for (std::int64_t n = gqa::sum_lanes / 2; n > 0; n /= 2)
      for (std::int64_t j = 0; j < n; ++j) lane[j] = lane[2 * j] + lane[2 * j + 1];
    s.l = lane[0];
    return s;
  }

  void add_block(state& s, float (&lane)[gqa::sum_lanes], std::int64_t begin, std::int64_t end) const {
    float scores[gqa::block_keys], top = -INFINITY;
    for (std::int64_t j = begin; j < end; ++j) {
      scores[j - begin] = p_.sees(b_, i_, h_, j) ? score(j) : -INFINITY;
      top = std::max(top, scores[j - begin]);
    }
    if (top == -INFINITY) return;
    const float n = exponent(top).n;
    if (s.empty()) s.m = n;
    if (n > s.m) {
      const float shrink = power_of_two(s.m - n);
      for (float& x : lane) x *= shrink;
      for (float& x : s.o) x *= shrink;
      s.m = n;
    }
    for (std::int64_t j = begin; j < end; ++j) {
      if (scores[j - begin] == -INFINITY) continue;
      const exponent e(scores[j - begin]);
      const float p = scaled(twice_exp2(e.f), e.n - s.m);
      lane[j % gqa::sum_lanes] += p;
      for (std::int64_t d = 0; d < p_.v_head_dim(); ++d)
        s.o[static_cast<std::size_t>(d)] = std::fma(p, value(j, d), s.o[static_cast<std::size_t>(d)]);
    }
  }

  [[nodiscard]] float value(std::int64_t j, std::int64_t d) const {
    const std::int64_t g = h_ * p_.kv_heads() / p_.q_heads();
    return static_cast<float>(
        p_.v[static_cast<std::size_t>(((b_ * p_.kv_len + j) * p_.kv_heads() + g) * p_.v_head_dim() + d)]);
  }

  [[nodiscard]] float score(std::int64_t j) const {
    const gqa::dynamic_spec& spec = p_.spec;
    const std::int64_t dim = p_.head_dim(), g = h_ * p_.kv_heads() / p_.q_heads();
    const double* q = &p_.q[static_cast<std::size_t>(((b_ * p_.q_len + i_) * p_.q_heads() + h_) * dim)];
    const double* k = &p_.k[static_cast<std::size_t>(((b_ * p_.kv_len + j) * p_.kv_heads() + g) * dim)];
    float x[gqa::score_lanes] = {};
    for (std::int64_t d = 0; d < dim; ++d)
      x[d % gqa::score_lanes] =
          std::fma(static_cast<float>(q[d]), static_cast<float>(k[d]), x[d % gqa::score_lanes]);
    const double scale = spec.scale ? *spec.scale : 1 / std::sqrt(static_cast<double>(dim));
    float s = static_cast<float>(scale) * (((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])));
    if (spec.softcap > 0)
      s = static_cast<float>(spec.softcap) * by_contract_detail::tanh(s * static_cast<float>(1 / spec.softcap));
    if (spec.alibi)
      s = std::fma(static_cast<float>(p_.alibi_slopes[static_cast<std::size_t>(h_)]),
                   static_cast<float>(j - (p_.q_start[static_cast<std::size_t>(b_)] + i_)), s);
    if (spec.bias) {
      const std::int64_t head = p_.bias_heads == 1 ? 0 : h_;
      s += static_cast<float>(
          p_.bias[static_cast<std::size_t>(((b_ * p_.bias_heads + head) * p_.q_len + i_) * p_.kv_len + j)]);
    }
    return s;
  }

  const problem& p_;
  const std::int64_t b_, i_, h_;
  state total_;
};

}  // namespace by_contract_detail

/// The answer for the problem as stored. Not for translation units with -ffast-math or contraction of a * b + c.
template <class Out>
[[nodiscard]] answer<Out> by_contract(const problem& p) {
  answer<Out> a;
  a.out.assign(static_cast<std::size_t>(p.rows() * p.v_head_dim()), static_cast<Out>(canary));
  a.lse.assign(static_cast<std::size_t>(p.spec.lse ? p.rows() : 0), canary);
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_lens[static_cast<std::size_t>(b)]; ++i)
      for (std::int64_t h = 0; h < p.q_heads(); ++h) {
        const by_contract_detail::row r(p, b, i, h);
        const std::int64_t at = (b * p.q_len + i) * p.q_heads() + h;
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) {
          const Out x = static_cast<Out>(r.out(d));
          const Out zero = static_cast<Out>(0.0f);  // +0, also where a negative number rounds to 0
          a.out[static_cast<std::size_t>(at * p.v_head_dim() + d)] = x == zero ? zero : x;
        }
        if (p.spec.lse) a.lse[static_cast<std::size_t>(at)] = r.lse;
      }
  return a;
}

}  // namespace gqa_test
