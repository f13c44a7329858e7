// What attention to compute: the question, without data, memory or machine. Order of the terms of a score:
//
//   score = scale * (q . k)                                     scale: 1 / sqrt(head_dim) unless given
//   score = softcap * tanh(score / softcap)      softcap > 0    (Gemma 2, arXiv 2408.00118, section 2)
//   score = score + slope * (key position - query position)     ALiBi (Press et al., arXiv 2108.12409, section 3)
//   score = score + bias                                        -inf hides the key as a mask does
//   visible: causal, window, sink_tokens, mask                  (model/visibility.hpp)
//   softmax over visible keys and the sink logit                (gpt-oss: one learned logit a head, without a value)
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

#include "../base/storage.hpp"
#include "heads.hpp"

GQA_NAMESPACE_BEGIN

inline constexpr std::int64_t max_head_dim = 1024;

/// Elements of a key and of a value: dims<128>, dims<192, 128>, or dims<>{d, v} at run time. 1 to max_head_dim each.
template <std::int64_t D = dynamic, std::int64_t V = D>
struct dims {
  static_assert(D >= 1 && D <= max_head_dim && V >= 1 && V <= max_head_dim,
                "head_dim and v_head_dim lie in 1 ... 1024");
  static constexpr std::int64_t head_dim = D;
  static constexpr std::int64_t v_head_dim = V;
};
template <>
struct dims<dynamic, dynamic> {
  std::int64_t head_dim = 0;
  std::int64_t v_head_dim = 0;
};

/// Element types of query, keys, values and output.
template <storage Q = float, storage K = Q, storage V = K, storage Out = Q>
struct types {
  using q = Q;
  using k = K;
  using v = V;
  using out = Out;
};

inline constexpr std::int64_t no_window = -1;

/// The features below the counts are off by default. `alibi`, `bias`, `mask`, `sinks` and `lse` announce that a run
/// brings (or wants) the tensor of that name.
template <class Heads = heads<>, class Dims = dims<>>
struct attention_spec {
  Heads heads{};
  Dims dims{};
  std::optional<double> scale{};    ///< multiplies q . k; 1 / sqrt(head_dim), formed in double, where absent
  bool causal = true;               ///< a key is seen only by queries at or after its position
  std::int64_t window = no_window;  ///< w: the last w positions, the query's own included; 0: only sink tokens
  std::int64_t sink_tokens = 0;     ///< the first n keys stay visible to every later query
  double softcap = 0;               ///< 0: none
  bool alibi = false;               ///< run brings alibi_slopes [q_heads]
  bool bias = false;                ///< run brings bias, f32, by four strides
  bool mask = false;                ///< run brings mask, one byte an element, 0 hides
  bool sinks = false;               ///< run brings sinks [q_heads], natural-log logits
  bool lse = false;                 ///< run writes the natural log-sum-exp [batch, q_len, q_heads]
};

/// attention_spec with the counts as numbers: what checking and planning work on.
using dynamic_spec = attention_spec<heads<>, dims<>>;

template <class Heads, class Dims>
[[nodiscard]] constexpr dynamic_spec erase_counts(const attention_spec<Heads, Dims>& s) noexcept {
  return {{s.heads.q_heads, s.heads.kv_heads},
          {s.dims.head_dim, s.dims.v_head_dim},
          s.scale,
          s.causal,
          s.window,
          s.sink_tokens,
          s.softcap,
          s.alibi,
          s.bias,
          s.mask,
          s.sinks,
          s.lse};
}

[[nodiscard]] inline status check(const dynamic_spec& s) noexcept {
  GQA_TRY(check_heads(s.heads.q_heads, s.heads.kv_heads));
  if (s.dims.head_dim < 1 || s.dims.head_dim > max_head_dim)
    return failure(errc::invalid_argument, "head_dim", s.dims.head_dim, "1 to 1024");
  if (s.dims.v_head_dim < 1 || s.dims.v_head_dim > max_head_dim)
    return failure(errc::invalid_argument, "v_head_dim", s.dims.v_head_dim, "1 to 1024");
  constexpr double largest = 3.4028234663852886e38;  // f32
  if (s.scale && !(std::fabs(*s.scale) <= largest))
    return failure_real(errc::invalid_argument, "scale", *s.scale, "a finite f32");
  if (!(s.softcap >= 0 && s.softcap <= largest))
    return failure_real(errc::invalid_argument, "softcap", s.softcap, "0 (off) or a positive finite f32");
  if (s.softcap > 0 && s.softcap < 1.2e-38)
    return failure_real(errc::invalid_argument, "softcap", s.softcap, "at least the smallest normal f32");
  if (s.window < no_window) return failure(errc::invalid_argument, "window", s.window, "-1 (none) or at least 0");
  if (s.sink_tokens < 0) return failure(errc::invalid_argument, "sink_tokens", s.sink_tokens, "at least 0");
  return {};
}

GQA_NAMESPACE_END
