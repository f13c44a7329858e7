// The float64 oracle: attention as model/spec.hpp defines it, one row at a time, in double, on Eigen. Slow, and written
// to be read; for tests of the library and for tests of whoever uses it. Shares nothing with the kernels: positions and
// visibility are spelled out again below.
//
//   score_j = cap(scale * (q . k_j)) + slope * (j - position) + bias_j           for every visible key j
//   out     = sum_j exp(score_j) v_j / (sum_j exp(score_j) + exp(sink)),   lse = log of that denominator
//
// Not for translation units compiled with -ffast-math: infinities have a meaning here.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/index_view.hpp"
#include "model/spec.hpp"

GQA_NAMESPACE_BEGIN

/// A strided array of any element type (float, double, f16, bf16, bytes), read as double, exactly. Element (b, t, h, d)
/// lies at data[b * stride[0] + t * stride[1] + h * stride[2] + d * stride[3]]; stride 0 broadcasts. Does not own.
class real_view {
 public:
  using strides = std::array<std::int64_t, 4>;

  real_view() = default;  ///< absent
  template <class T>
  real_view(const T* data, strides s = {1, 0, 0, 0})
      : data_(data), read_([](const void* p, std::int64_t i) { return to_double(static_cast<const T*>(p)[i]); }),
        stride_(s) {}
  /// [batch][tokens][heads][dim] without gaps.
  template <class T>
  [[nodiscard]] static real_view dense(const T* data, std::int64_t tokens, std::int64_t heads, std::int64_t dim) {
    return {data, {tokens * heads * dim, heads * dim, dim, 1}};
  }

  [[nodiscard]] bool present() const { return data_ != nullptr; }
  [[nodiscard]] double operator()(std::int64_t b, std::int64_t t = 0, std::int64_t h = 0, std::int64_t d = 0) const {
    return read_(data_, b * stride_[0] + t * stride_[1] + h * stride_[2] + d * stride_[3]);
  }

 private:
  template <class T>
  static double to_double(T x) {
    if constexpr (std::is_arithmetic_v<T>) return static_cast<double>(x);
    else return static_cast<float>(x);  // Eigen's 16-bit types
  }

  const void* data_ = nullptr;
  double (*read_)(const void*, std::int64_t) = nullptr;
  strides stride_{};
};

/// The question and its data. Optional features follow the flags in `spec`; spec.lse is ignored.
struct reference_problem {
  dynamic_spec spec;              ///< of any attention_spec: erase_counts(spec)
  std::int64_t batch = 1;         ///< sequences
  std::int64_t q_len = 1;         ///< longest q_len: rows of the result
  index_view q_lens{};            ///< absent: q_len
  index_view kv_lens{};           ///< tokens of each sequence; needed
  index_view q_start{};           ///< absent: kv_len - q_len of the sequence
  real_view q, k, v;              ///< [batch][token][head][dim]; tokens past the lengths are not read
  real_view bias;                 ///< [batch][q_heads][query][key]
  real_view mask;                 ///< [batch][q_heads][query][key], 0 hides
  real_view alibi_slopes, sinks;  ///< [q_heads]
};

struct reference_result {
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> out;  ///< [row][v_head_dim]; 0 sees nothing
  Eigen::VectorXd lse;        ///< [row] natural log; a row that sees nothing: the sink's logit, or -inf
  Eigen::VectorXd magnitude;  ///< [row] largest |scale| sum_d |q_d k_d| + |bias| + |ALiBi term| over the visible keys
  Eigen::VectorXd largest_v;  ///< [row] largest |v| among the visible values
  std::int64_t q_len = 0, q_heads = 0;

  /// Rows are [batch][q_len][q_heads]; rows past a sequence's q_len hold zeros.
  [[nodiscard]] std::int64_t row(std::int64_t b, std::int64_t i, std::int64_t h) const {
    return (b * q_len + i) * q_heads + h;
  }
  /// What an f32 kernel's row may differ by on the same inputs; 16-bit outputs may add half a unit in the last place.
  [[nodiscard]] double out_bound(std::int64_t r) const { return 2 * 0x1p-24 * (1 + magnitude[r]) * largest_v[r]; }
  [[nodiscard]] double lse_bound(std::int64_t r) const { return 8 * 0x1p-24 * (1 + magnitude[r]); }
};

/// Whether a query at `position` may see key j, from positions alone.
[[nodiscard]] inline bool reference_sees(const dynamic_spec& s, std::int64_t position, std::int64_t j) {
  if (s.causal && j > position) return false;
  const bool in_window = s.window < 0 || j > position - s.window;
  return in_window || j < s.sink_tokens;
}

[[nodiscard]] inline status check(const reference_problem& p) {
  GQA_TRY(check(p.spec));
  if (p.batch < 0) return failure(errc::invalid_argument, "batch", p.batch, "at least 0");
  if (p.q_len < 0) return failure(errc::invalid_argument, "q_len", p.q_len, "at least 0");
  if (!p.kv_lens.present()) return failure(errc::invalid_argument, "kv_lens", 0, "one a sequence");
  if (!p.q.present()) return failure(errc::null_pointer, "q", 0, "queries");
  if (!p.k.present()) return failure(errc::null_pointer, "k", 0, "keys");
  if (!p.v.present()) return failure(errc::null_pointer, "v", 0, "values");
  if (p.spec.bias && !p.bias.present()) return failure(errc::null_pointer, "bias", 0, "a bias");
  if (p.spec.mask && !p.mask.present()) return failure(errc::null_pointer, "mask", 0, "a mask");
  if (p.spec.alibi && !p.alibi_slopes.present()) return failure(errc::null_pointer, "alibi_slopes", 0, "slopes");
  if (p.spec.sinks && !p.sinks.present()) return failure(errc::null_pointer, "sinks", 0, "sink logits");
  if (!p.kv_lens.covers(p.batch)) return failure(errc::out_of_range, "kv_lens", p.kv_lens.size(), "one a sequence");
  if (p.q_lens.present() && !p.q_lens.covers(p.batch))
    return failure(errc::out_of_range, "q_lens", p.q_lens.size(), "one a sequence");
  if (p.q_start.present() && !p.q_start.covers(p.batch))
    return failure(errc::out_of_range, "q_start", p.q_start.size(), "one a sequence");
  for (std::int64_t b = 0; b < p.batch; ++b) {
    if (p.kv_lens[b] < 0) return failure(errc::out_of_range, "kv_lens", p.kv_lens[b], "at least 0", b);
    if (p.q_lens.present() && (p.q_lens[b] < 0 || p.q_lens[b] > p.q_len))
      return failure(errc::out_of_range, "q_lens", p.q_lens[b], "0 to q_len", b);
  }
  return {};
}

/// Attention of every row in double: O(rows * keys * dims). Masked means absent: hidden keys and values may hold NaN.
/// Errors: a spec that no plan accepts, a missing tensor or kv_lens, negative or too few lengths; `r` is then
/// unchanged.
[[nodiscard]] inline status reference_attention(const reference_problem& p, reference_result& r) {
  GQA_TRY(check(p));
  using Eigen::VectorXd;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const dynamic_spec& s = p.spec;
  const std::int64_t q_heads = s.heads.q_heads, group_size = q_heads / s.heads.kv_heads;
  const std::int64_t dim = s.dims.head_dim, v_dim = s.dims.v_head_dim;
  const double scale = s.scale ? *s.scale : 1 / std::sqrt(static_cast<double>(dim));

  const std::int64_t rows = p.batch * p.q_len * q_heads;
  r.out.setZero(rows, v_dim);
  r.lse.setZero(rows);
  r.magnitude.setZero(rows);
  r.largest_v.setZero(rows);
  r.q_len = p.q_len;
  r.q_heads = q_heads;

  for (std::int64_t b = 0; b < p.batch; ++b) {
    const std::int64_t kv_len = p.kv_lens[b], q_len = p.q_lens.present() ? p.q_lens[b] : p.q_len;
    const std::int64_t start = p.q_start.present() ? p.q_start[b] : kv_len - q_len;
    Eigen::MatrixXd k(dim, kv_len), v(v_dim, kv_len);  // one token a column
    for (std::int64_t h = 0; h < q_heads; ++h) {
      const std::int64_t kv_head = h / group_size;
      if (h % group_size == 0) {
        for (std::int64_t j = 0; j < kv_len; ++j) {
          for (std::int64_t d = 0; d < dim; ++d) k(d, j) = p.k(b, j, kv_head, d);
          for (std::int64_t d = 0; d < v_dim; ++d) v(d, j) = p.v(b, j, kv_head, d);
        }
      }
      for (std::int64_t i = 0; i < q_len; ++i) {
        const std::int64_t row = r.row(b, i, h), position = start + i;
        VectorXd q(dim);
        for (std::int64_t d = 0; d < dim; ++d) q[d] = p.q(b, i, h, d);

        VectorXd score = VectorXd::Constant(kv_len, -infinity);  // -inf: not visible
        for (std::int64_t j = 0; j < kv_len; ++j) {
          if (!reference_sees(s, position, j)) continue;
          if (s.mask && p.mask(b, h, i, j) == 0) continue;
          const double bias = s.bias ? p.bias(b, h, i, j) : 0;
          if (bias == -infinity) continue;
          const double alibi = s.alibi ? p.alibi_slopes(h) * static_cast<double>(j - position) : 0;
          score[j] = scale * q.dot(k.col(j));
          if (s.softcap > 0) score[j] = s.softcap * std::tanh(score[j] / s.softcap);
          score[j] += alibi + bias;
          const double size =
              std::abs(scale) * q.cwiseAbs().dot(k.col(j).cwiseAbs()) + std::abs(bias) + std::abs(alibi);
          r.magnitude[row] = std::max(r.magnitude[row], size);
          r.largest_v[row] = std::max(r.largest_v[row], v.col(j).cwiseAbs().maxCoeff());
        }

        const double sink = s.sinks ? p.sinks(h) : -infinity;
        const double largest = kv_len > 0 ? std::max(sink, score.maxCoeff()) : sink;
        if (largest == -infinity) {
          r.lse[row] = -infinity;
          continue;
        }
        double denominator = std::exp(sink - largest);
        VectorXd out = VectorXd::Zero(v_dim);
        for (std::int64_t j = 0; j < kv_len; ++j) {
          if (score[j] == -infinity) continue;
          const double weight = std::exp(score[j] - largest);
          denominator += weight;
          out += weight * v.col(j);
        }
        r.out.row(row) = out / denominator;
        r.lse[row] = largest + std::log(denominator);
      }
    }
  }
  return {};
}

GQA_NAMESPACE_END
