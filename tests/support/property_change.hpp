// Problems made from others that must have the same answer, or one that follows from it exactly.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "property_run.hpp"

namespace gqa_test {

namespace detail {
template <class T>
[[nodiscard]] std::vector<T> pick_blocks(const std::vector<T>& from, std::int64_t batch,
                                         const std::vector<std::int64_t>& which) {
  const std::size_t n = from.size() / static_cast<std::size_t>(batch);
  std::vector<T> to;
  for (const std::int64_t b : which) {
    const auto first = from.begin() + static_cast<std::ptrdiff_t>(n * static_cast<std::size_t>(b));
    to.insert(to.end(), first, first + static_cast<std::ptrdiff_t>(n));
  }
  return to;
}
}  // namespace detail

/// The sequences named, in that order, repetitions included.
[[nodiscard]] inline problem pick(const problem& p, const std::vector<std::int64_t>& which) {
  problem out = p;
  out.batch = static_cast<std::int64_t>(which.size());
  for (std::vector<double> problem::*x : {&problem::q, &problem::k, &problem::v, &problem::bias})
    out.*x = detail::pick_blocks(p.*x, p.batch, which);
  out.mask = detail::pick_blocks(p.mask, p.batch, which);
  for (std::vector<std::int64_t> problem::*x : {&problem::q_lens, &problem::kv_lens, &problem::q_start})
    out.*x = detail::pick_blocks(p.*x, p.batch, which);
  return out;
}
template <class Out>
[[nodiscard]] answer<Out> pick(const answer<Out>& a, std::int64_t batch, const std::vector<std::int64_t>& which) {
  return {detail::pick_blocks(a.out, batch, which), detail::pick_blocks(a.lse, batch, which)};
}

/// Fills the keys and values of tokens that no query of a KV head's group sees.
template <class Fill>
[[nodiscard]] problem with_unseen(problem p, const Fill& fill) {
  const std::int64_t group = p.q_heads() / p.kv_heads();
  const auto seen = [&](std::int64_t b, std::int64_t g, std::int64_t j) {
    for (std::int64_t h = g * group; h < (g + 1) * group; ++h)
      for (std::int64_t i = 0; i < p.q_len; ++i)
        if (p.sees(b, i, h, j)) return true;
    return false;
  };
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t g = 0; g < p.kv_heads(); ++g)
      for (std::int64_t j = 0; j < p.kv_len; ++j) {
        if (seen(b, g, j)) continue;
        for (std::int64_t d = 0; d < p.head_dim(); ++d) p.k_at(b, j, g, d) = fill();
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) p.v_at(b, j, g, d) = fill();
      }
  return p;
}

/// Multi-head attention: every query head with a copy of its KV head.
[[nodiscard]] inline problem with_repeated_heads(problem p) {
  problem out = p;
  const std::int64_t group = p.q_heads() / p.kv_heads();
  out.spec.heads.kv_heads = p.q_heads();
  out.k.resize(p.k.size() * static_cast<std::size_t>(group));
  out.v.resize(p.v.size() * static_cast<std::size_t>(group));
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t j = 0; j < p.kv_len; ++j)
      for (std::int64_t h = 0; h < p.q_heads(); ++h) {
        for (std::int64_t d = 0; d < p.head_dim(); ++d) out.k_at(b, j, h, d) = p.k_at(b, j, h / group, d);
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) out.v_at(b, j, h, d) = p.v_at(b, j, h / group, d);
      }
  return out;
}

[[nodiscard]] inline std::vector<std::int64_t> random_order(std::int64_t n, random_source& draw) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[static_cast<std::size_t>(draw.between(0, static_cast<std::int64_t>(i) - 1))]);
  return order;
}
/// Of every row of order.size() elements.
template <class T>
void permute_columns(std::vector<T>& x, const std::vector<std::int64_t>& order) {
  const std::vector<T> from = x;
  for (std::size_t at = 0; at < x.size(); ++at) {
    const std::size_t column = at % order.size();
    x[at] = from[at - column + static_cast<std::size_t>(order[column])];
  }
}

namespace detail {
/// Without causal, window and sink_tokens; calls hide(b, i, j) for every query and key that they kept apart.
template <class Hide>
void drop_positions(problem& p, const problem& from, const Hide& hide) {
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_len; ++i)
      for (std::int64_t j = 0; j < p.kv_len; ++j)
        if (!gqa::reference_sees(from.spec, from.q_start[static_cast<std::size_t>(b)] + i, j))
          hide(static_cast<std::size_t>((b * p.q_len + i) * p.kv_len + j), b, i, j);
  p.spec.causal = false;
  p.spec.window = gqa::no_window;
  p.spec.sink_tokens = 0;
}
}  // namespace detail

[[nodiscard]] inline problem positions_as_mask(const problem& from) {
  problem p = from;
  if (!p.spec.mask) p.mask.assign(static_cast<std::size_t>(p.batch * p.q_len * p.kv_len), 1);
  p.spec.mask = true;
  detail::drop_positions(p, from, [&](std::size_t at, auto...) { p.mask[at] = 0; });
  return p;
}

[[nodiscard]] inline problem positions_as_bias(const problem& from) {
  problem p = from;
  if (!p.spec.bias) {
    p.bias_heads = 1;
    p.bias.assign(static_cast<std::size_t>(p.batch * p.q_len * p.kv_len), 0);
  }
  p.spec.bias = true;
  detail::drop_positions(p, from, [&](std::size_t, std::int64_t b, std::int64_t i, std::int64_t j) {
    for (std::int64_t h = 0; h < p.bias_heads; ++h)
      p.bias[static_cast<std::size_t>(((b * p.bias_heads + h) * p.q_len + i) * p.kv_len + j)] = -infinity;
  });
  return p;
}

/// A feature switched on so that it says nothing, or nothing new. Absent where the problem uses it already.
struct neutral {
  const char* name;
  std::optional<problem> (*add)(problem);
};

[[nodiscard]] inline const std::vector<neutral>& neutral_features() {
  static const std::vector<neutral> features = {
      {"a window as long as the positions",
       [](problem p) -> std::optional<problem> {
         if (p.spec.window >= 0) return {};
         p.spec.window = p.kv_len + p.q_len;
         return p;
       }},
      {"sink tokens without a window",
       [](problem p) -> std::optional<problem> {
         if (p.spec.window >= 0) return {};
         p.spec.sink_tokens = p.kv_len / 2 + 1;
         return p;
       }},
      {"as many sink tokens as keys in place of a window that hides none",
       [](problem p) -> std::optional<problem> {
         if (p.spec.window >= 0) return {};
         p.spec.window = 1;
         p.spec.sink_tokens = p.kv_len;
         return p;
       }},
      {"a mask of ones",
       [](problem p) -> std::optional<problem> {
         if (p.spec.mask) return {};
         p.spec.mask = true;
         p.mask.assign(static_cast<std::size_t>(p.batch * p.q_len * p.kv_len), 255);
         return p;
       }},
      {"a bias of zeros",
       [](problem p) -> std::optional<problem> {
         if (p.spec.bias) return {};
         p.spec.bias = true;
         p.bias_heads = 1;
         p.bias.assign(static_cast<std::size_t>(p.batch * p.q_len * p.kv_len), 0);
         return p;
       }},
      {"slopes of zero",
       [](problem p) -> std::optional<problem> {
         if (p.spec.alibi) return {};
         p.spec.alibi = true;
         p.alibi_slopes.assign(static_cast<std::size_t>(p.q_heads()), 0);
         return p;
       }},
      {"sinks of -inf",
       [](problem p) -> std::optional<problem> {
         if (p.spec.sinks) return {};
         p.spec.sinks = true;
         p.sinks.assign(static_cast<std::size_t>(p.q_heads()), -infinity);
         return p;
       }},
      {"lse asked for or not",
       [](problem p) -> std::optional<problem> {
         p.spec.lse = !p.spec.lse;
         return p;
       }},
  };
  return features;
}

}  // namespace gqa_test
