// Random problems from a recipe and a seed: the same recipe and seed give the same problem everywhere.
#pragma once

#include <random>

#include "problem.hpp"

namespace gqa_test {

/// Normal numbers from 64-bit draws, by Box and Muller; the standard distributions differ between libraries.
class random_source {
 public:
  explicit random_source(std::uint64_t seed) : engine_(seed) {}
  [[nodiscard]] double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  [[nodiscard]] double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }
  /// low ... high, both included.
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::mt19937_64 engine_;
};

struct recipe {
  gqa::dynamic_spec spec;
  std::int64_t batch = 1, q_len = 1, kv_len = 1;
  std::int64_t bias_heads = 1;
  bool ragged = false;  ///< lengths of sequences 1, 2, ... drawn below the tensor's, empty ones included
};

/// q, k, v standard normal; keys and values past kv_lens NaN; one bias in eight -inf; one mask byte in five 0.
[[nodiscard]] inline problem generate(const recipe& r, std::uint64_t seed) {
  random_source draw(seed);
  problem p = make_problem(r.spec, r.batch, r.q_len, r.kv_len, r.bias_heads);
  p.name = "seed " + std::to_string(seed);
  for (std::vector<double>* x : {&p.q, &p.k, &p.v, &p.sinks})
    for (double& value : *x) value = draw.normal();
  for (std::size_t h = 0; h < p.alibi_slopes.size(); ++h)
    p.alibi_slopes[h] = std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(p.q_heads()));
  for (double& value : p.bias) value = draw.between(0, 7) == 0 ? -infinity : draw.normal();
  for (std::uint8_t& value : p.mask) value = draw.between(0, 4) != 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const auto at = static_cast<std::size_t>(b);
    if (r.ragged && b > 0) {
      p.kv_lens[at] = draw.between(0, r.kv_len);
      p.q_lens[at] = draw.between(0, std::min(r.q_len, p.kv_lens[at]));
      p.q_start[at] = p.kv_lens[at] - p.q_lens[at];
    }
    for (std::int64_t j = p.kv_lens[at]; j < p.kv_len; ++j)
      for (std::int64_t g = 0; g < p.kv_heads(); ++g) {
        for (std::int64_t d = 0; d < p.head_dim(); ++d) p.k_at(b, j, g, d) = nan;
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) p.v_at(b, j, g, d) = nan;
      }
  }
  return p;
}

}  // namespace gqa_test
