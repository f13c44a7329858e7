// The shapes of the NEON, AVX2 and AVX-512 kernels without their instructions (GQA_EMULATED_TARGETS): every width, row
// tile and tail runs on every machine, and the answers are those of the portable target, bit for bit.
#include <gtest/gtest.h>

#include "support/any_processor.hpp"
#include "support/generate.hpp"
#include "support/runner.hpp"

namespace gqa_test {
namespace {

using f32_types = gqa::types<float, float, float, float>;
using mixed_types = gqa::types<float, gqa::f16, gqa::bf16, float>;

constexpr gqa::isa emulated[] = {gqa::isa::emulated4, gqa::isa::emulated8, gqa::isa::emulated16};

template <class Types>
void expect_same_bits(const problem& question, manner m) {
  const problem p = as_stored<typename Types::q, typename Types::k, typename Types::v>(question);
  m.target = gqa::isa::portable;
  const auto want = run<Types>(p, m);
  for (const auto* of : {&zen4, &xeon})
    for (const gqa::isa target : emulated) {
      processor = of;
      m.target = target;
      EXPECT_TRUE(run<Types>(p, m).same_bits(want)) << p.name << ": " << m.name() << (of == &zen4 ? "" : ", Xeon");
    }
  processor = nullptr;
}

gqa::dynamic_spec make_spec(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t v_dim) {
  gqa::dynamic_spec s;
  s.heads = {q_heads, kv_heads};
  s.dims = {dim, v_dim};
  s.lse = true;
  return s;
}

const gqa::kernel_table* f32_table(gqa::isa target) {
  using gqa::element;
  return gqa::kernels_for<element::f32, element::f32, element::f32, element::f32>(target);
}

TEST(Emulated, TablesAreTheirOwn) {
  const gqa::kernel_table* before = f32_table(gqa::isa::portable);
  for (const gqa::isa target : emulated) {
    EXPECT_EQ(f32_table(target)->target, target);
    EXPECT_NE(f32_table(target)->score_panels, before->score_panels);
    before = f32_table(target);
  }
}

/// Where the emulated target compiles in, its shape is the emulating one's; reading a table runs none of its code.
void expect_same_shape(gqa::isa real, gqa::isa like) {
  if (f32_table(real)->target != real) return;  // another architecture's
  EXPECT_EQ(f32_table(real)->row_tile, f32_table(like)->row_tile) << gqa::name(real);
  EXPECT_EQ(f32_table(real)->dot_rows.alone, f32_table(like)->dot_rows.alone) << gqa::name(real);
  EXPECT_EQ(f32_table(real)->dot_rows.each, f32_table(like)->dot_rows.each) << gqa::name(real);
  const gqa::memory_traits x = f32_table(real)->memory, y = f32_table(like)->memory;
  EXPECT_EQ(x.largest_token, y.largest_token) << gqa::name(real);
  EXPECT_EQ(x.beside_rows, y.beside_rows) << gqa::name(real);
  for (const auto& of : {zen3, zen4, zen5, xeon})
    EXPECT_EQ(gqa::detail::traits_of(of, real), gqa::detail::traits_of(of, like)) << gqa::name(real);
}

TEST(Emulated, ShapesAreThoseOfTheRealTargets) {
  expect_same_shape(gqa::isa::neon, gqa::isa::emulated4);
  expect_same_shape(gqa::isa::avx2, gqa::isa::emulated8);
  expect_same_shape(gqa::isa::avx512, gqa::isa::emulated16);
}

TEST(Emulated, EveryNumberOfRowsGivesThePortableBits) {
  for (const order inside : {order::token_major, order::tiled})
    for (std::int64_t rows = 1; rows <= 83; rows += rows < 27 ? 1 : 7) {
      recipe r{make_spec(1, 1, 40, 84), 1, rows, 90};
      manner m;
      m.cache.inside = inside;
      expect_same_bits<f32_types>(generate(r, static_cast<std::uint64_t>(rows)), m);
      expect_same_bits<mixed_types>(generate(r, static_cast<std::uint64_t>(rows)), m);
    }
}

TEST(Emulated, EveryDimGivesThePortableBits) {
  for (std::int64_t dim : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 80, 128, 130, 200})
    for (std::int64_t rows : {1, 14}) {
      const recipe r{make_spec(2 * rows, 2, dim, 201 - dim), 1, 2, 70};
      expect_same_bits<f32_types>(generate(r, static_cast<std::uint64_t>(dim)), {});
      expect_same_bits<mixed_types>(generate(r, static_cast<std::uint64_t>(dim)), {});
    }
}

TEST(Emulated, EveryFeatureGivesThePortableBits) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    random_source draw(seed);
    const auto one_in = [&](std::int64_t n) { return draw.between(1, n) == 1; };
    const std::int64_t kv_heads = draw.between(1, 3);
    recipe r{make_spec(kv_heads * draw.between(1, 9), kv_heads, draw.between(1, 80), draw.between(1, 80)),
             draw.between(1, 2), 1, draw.between(1, one_in(3) ? 900 : 150)};
    r.q_len = std::min(draw.between(1, one_in(3) ? 40 : 4), r.kv_len);
    r.ragged = one_in(2);
    if (one_in(3)) r.spec.window = draw.between(0, r.kv_len);
    if (one_in(3)) r.spec.sink_tokens = draw.between(0, 70);
    if (one_in(3)) r.spec.softcap = 0.5 + 30 * draw.uniform();
    r.spec.causal = !one_in(4);
    r.spec.alibi = one_in(3);
    r.spec.bias = one_in(3);
    r.spec.mask = one_in(3);
    r.spec.sinks = one_in(3);
    manner m;
    m.cache.inside = static_cast<order>(draw.between(0, 2));
    if (one_in(2)) m.cache.page_size = m.cache.inside == order::tiled ? 16 : draw.between(1, 20);
    m.shares = draw.between(1, 4);
    const problem p = generate(r, seed + 9000);
    if (seed % 2 == 0) expect_same_bits<f32_types>(p, m);
    else expect_same_bits<mixed_types>(p, m);
  }
}

}  // namespace
}  // namespace gqa_test
