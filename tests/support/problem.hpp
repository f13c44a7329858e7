// One attention problem in double, whatever it came from: a case file, the generator, a test's own hands. Tensors are
// dense, [batch][token][head][dim], as CASES.md has them; the library sees them rounded to its storage types.
#pragma once

#include <cmath>
#include <cstdint>
#include <gqa/reference.hpp>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace gqa_test {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct problem {
  std::string name;
  gqa::dynamic_spec spec;  ///< flags say which of the tensors below are there
  std::int64_t batch = 1, q_len = 1, kv_len = 1;
  std::int64_t bias_heads = 1;                         ///< 1 broadcasts
  std::vector<std::int64_t> q_lens, kv_lens, q_start;  ///< [batch], always filled
  std::vector<double> q, k, v;
  std::vector<double> sinks, alibi_slopes, bias;
  std::vector<std::uint8_t> mask;  ///< [batch][q_len][kv_len]

  [[nodiscard]] std::int64_t q_heads() const { return spec.heads.q_heads; }
  [[nodiscard]] std::int64_t kv_heads() const { return spec.heads.kv_heads; }
  [[nodiscard]] std::int64_t head_dim() const { return spec.dims.head_dim; }
  [[nodiscard]] std::int64_t v_head_dim() const { return spec.dims.v_head_dim; }
  [[nodiscard]] std::int64_t rows() const { return batch * q_len * q_heads(); }
  /// Longest of kv_lens: what a cache needs room for.
  [[nodiscard]] std::int64_t tokens() const {
    std::int64_t n = 0;
    for (std::int64_t len : kv_lens) n = std::max(n, len);
    return n;
  }
  [[nodiscard]] double& q_at(std::int64_t b, std::int64_t i, std::int64_t h, std::int64_t d) {
    return q[static_cast<std::size_t>(((b * q_len + i) * q_heads() + h) * head_dim() + d)];
  }
  [[nodiscard]] double& k_at(std::int64_t b, std::int64_t j, std::int64_t g, std::int64_t d) {
    return k[static_cast<std::size_t>(((b * kv_len + j) * kv_heads() + g) * head_dim() + d)];
  }
  [[nodiscard]] double& v_at(std::int64_t b, std::int64_t j, std::int64_t g, std::int64_t d) {
    return v[static_cast<std::size_t>(((b * kv_len + j) * kv_heads() + g) * v_head_dim() + d)];
  }
  /// Whether the row sees the key, from positions, mask and bias.
  [[nodiscard]] bool sees(std::int64_t b, std::int64_t i, std::int64_t h, std::int64_t j) const {
    const auto at = static_cast<std::size_t>(b);
    if (i >= q_lens[at] || j >= kv_lens[at] || !gqa::reference_sees(spec, q_start[at] + i, j)) return false;
    if (spec.mask && mask[static_cast<std::size_t>((b * q_len + i) * kv_len + j)] == 0) return false;
    if (!spec.bias) return true;
    const std::int64_t bias_head = bias_heads == 1 ? 0 : h;
    return bias[static_cast<std::size_t>(((b * bias_heads + bias_head) * q_len + i) * kv_len + j)] != -infinity;
  }
};

/// A problem of the given sizes, every sequence at full length, tensors zero.
[[nodiscard]] inline problem make_problem(const gqa::dynamic_spec& spec, std::int64_t batch, std::int64_t q_len,
                                          std::int64_t kv_len, std::int64_t bias_heads = 1) {
  problem p;
  p.spec = spec;
  p.batch = batch;
  p.q_len = q_len;
  p.kv_len = kv_len;
  p.bias_heads = bias_heads;
  const auto n = [](std::int64_t count) { return static_cast<std::size_t>(count); };
  p.q_lens.assign(n(batch), q_len);
  p.kv_lens.assign(n(batch), kv_len);
  p.q_start.assign(n(batch), kv_len - q_len);
  p.q.assign(n(batch * q_len * p.q_heads() * p.head_dim()), 0);
  p.k.assign(n(batch * kv_len * p.kv_heads() * p.head_dim()), 0);
  p.v.assign(n(batch * kv_len * p.kv_heads() * p.v_head_dim()), 0);
  if (spec.sinks) p.sinks.assign(n(p.q_heads()), 0);
  if (spec.alibi) p.alibi_slopes.assign(n(p.q_heads()), 0);
  if (spec.bias) p.bias.assign(n(batch * bias_heads * q_len * kv_len), 0);
  if (spec.mask) p.mask.assign(n(batch * q_len * kv_len), 1);
  return p;
}

/// Values as T holds them, rounded to nearest even (through f32 for the 16-bit types, where that makes two roundings).
template <class T>
[[nodiscard]] std::vector<T> rounded(const std::vector<double>& x) {
  std::vector<T> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = static_cast<T>(static_cast<float>(x[i]));
  return out;
}
template <class T>
void round_in_place(std::vector<double>& x) {
  for (double& value : x) value = static_cast<float>(static_cast<T>(static_cast<float>(value)));
}

/// The problem as the library receives it: q, k, v in their storage types, all else in f32.
template <class Q, class K, class V>
[[nodiscard]] problem as_stored(problem p) {
  round_in_place<Q>(p.q);
  round_in_place<K>(p.k);
  round_in_place<V>(p.v);
  round_in_place<float>(p.sinks);
  round_in_place<float>(p.alibi_slopes);
  round_in_place<float>(p.bias);
  return p;
}

/// The float64 oracle on the problem; throws where it refuses.
[[nodiscard]] inline gqa::reference_result reference(const problem& p) {
  gqa::reference_problem r;
  r.spec = p.spec;
  r.batch = p.batch;
  r.q_len = p.q_len;
  r.q_lens = p.q_lens;
  r.kv_lens = p.kv_lens;
  r.q_start = p.q_start;
  r.q = gqa::real_view::dense(p.q.data(), p.q_len, p.q_heads(), p.head_dim());
  r.k = gqa::real_view::dense(p.k.data(), p.kv_len, p.kv_heads(), p.head_dim());
  r.v = gqa::real_view::dense(p.v.data(), p.kv_len, p.kv_heads(), p.v_head_dim());
  const std::int64_t plane = p.q_len * p.kv_len;
  if (p.spec.bias)
    r.bias = gqa::real_view(p.bias.data(), {p.bias_heads * plane, p.bias_heads == 1 ? 0 : plane, p.kv_len, 1});
  if (p.spec.mask) r.mask = gqa::real_view(p.mask.data(), {plane, 0, p.kv_len, 1});
  if (p.spec.alibi) r.alibi_slopes = gqa::real_view(p.alibi_slopes.data());
  if (p.spec.sinks) r.sinks = gqa::real_view(p.sinks.data());
  // An empty vector's data() may be null: no element of it is read, but the oracle wants to see a tensor.
  static constexpr double nothing = 0;
  if (!r.q.present()) r.q = gqa::real_view(&nothing);
  if (!r.k.present()) r.k = gqa::real_view(&nothing);
  if (!r.v.present()) r.v = gqa::real_view(&nothing);
  if (p.spec.bias && !r.bias.present()) r.bias = gqa::real_view(&nothing);
  if (p.spec.mask && !r.mask.present()) r.mask = gqa::real_view(&nothing);
  gqa::reference_result result;
  if (const gqa::status s = gqa::reference_attention(r, result); !s.ok())
    throw std::runtime_error("reference: " + s.message());
  return result;
}

}  // namespace gqa_test
