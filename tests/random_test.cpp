// Random problems: any mixture of shapes, features, lengths and types, computed in two random manners. The answers are
// within the bound of the float64 reference, and equal to the bit. GQA_RANDOM_SEEDS sets how many (400).
#include <gtest/gtest.h>

#include <cstdlib>

#include "support/bound.hpp"
#include "support/case_runs.hpp"
#include "support/generate.hpp"

namespace gqa_test {
namespace {

recipe random_recipe(random_source& draw) {
  const auto one_in = [&](std::int64_t n) { return draw.between(1, n) == 1; };
  recipe r;
  r.spec.heads.kv_heads = draw.between(1, 4);
  r.spec.heads.q_heads = r.spec.heads.kv_heads * (one_in(6) ? draw.between(9, 40) : draw.between(1, 8));
  r.spec.dims.head_dim = one_in(8) ? draw.between(65, 300) : draw.between(1, 64);
  r.spec.dims.v_head_dim = one_in(2) ? r.spec.dims.head_dim : draw.between(1, 100);
  r.spec.lse = !one_in(4);
  r.spec.causal = !one_in(4);
  r.batch = draw.between(0, 3);
  r.kv_len = one_in(4) ? draw.between(300, 1500) : draw.between(0, 150);
  r.q_len = std::min(one_in(6) ? draw.between(9, 90) : draw.between(0, 8), r.spec.causal ? r.kv_len : 90);
  r.ragged = one_in(2);
  if (one_in(3)) r.spec.scale = draw.normal();
  if (one_in(3)) r.spec.window = draw.between(0, r.kv_len + 3);
  if (one_in(3)) r.spec.sink_tokens = draw.between(0, one_in(3) ? r.kv_len + 3 : 8);
  if (one_in(4)) r.spec.softcap = 0.5 + 30 * draw.uniform();
  r.spec.alibi = one_in(4);
  r.spec.bias = one_in(4);
  r.spec.mask = one_in(4);
  r.spec.sinks = one_in(4);
  if (one_in(2)) r.bias_heads = r.spec.heads.q_heads;
  return r;
}

manner random_manner(random_source& draw, const problem& p) {
  manner m;
  m.cache.inside = static_cast<order>(draw.between(0, 2));
  if (draw.between(0, 1) == 1)
    m.cache.page_size = m.cache.inside == order::tiled ? 16 * draw.between(1, 3) : draw.between(1, 40);
  m.cache.csr = draw.between(0, 1) == 1;
  m.shares = draw.between(0, 2) == 0 ? draw.between(1, 16) : draw.between(1, 3);
  m.chunk = draw.between(0, 1) == 0 ? 0 : draw.between(1, std::max<std::int64_t>(p.q_len, 1));
  m.offset = draw.between(0, 3);
  const double fillers[] = {nan, infinity, -infinity, 0};
  m.poison = fillers[draw.between(0, 3)];
  for (const gqa::isa target : gqa::all_isas)
    if (gqa::is_supported(target) && draw.between(0, 2) == 0) m.target = target;
  return m;
}

template <class Types>
void check_seed(const problem& question, random_source& draw) {
  const problem p = as_stored<typename Types::q, typename Types::k, typename Types::v>(question);
  const manner first = random_manner(draw, p), second = random_manner(draw, p);
  const auto a = run<Types>(p, first), b = run<Types>(p, second);
  const comparison c = compare(p, reference(p), a);
  ASSERT_TRUE(c.passed()) << first.name() << ": " << c.where;
  ASSERT_TRUE(a.same_bits(b)) << first.name() << " against " << second.name();
}

TEST(Random, WithinTheBoundAndEqualToTheBit) {
  const char* text = std::getenv("GQA_RANDOM_SEEDS");
  const long seeds = text ? std::atol(text) : 400;
  for (long seed = 1; seed <= seeds; ++seed) {
    random_source draw(static_cast<std::uint64_t>(seed));
    const problem p = generate(random_recipe(draw), static_cast<std::uint64_t>(seed) + 5000000);
    SCOPED_TRACE("seed " + std::to_string(seed));
    switch (seed % 4) {
      case 0: check_seed<gqa::types<float, gqa::f16, gqa::bf16, float>>(p, draw); break;
      case 1: check_seed<gqa::types<float, float, float, float>>(p, draw); break;
      case 2: check_seed<gqa::types<gqa::bf16, gqa::bf16, gqa::bf16, gqa::bf16>>(p, draw); break;
      default: check_seed<gqa::types<gqa::f16, gqa::f16, gqa::f16, gqa::f16>>(p, draw); break;
    }
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace gqa_test
