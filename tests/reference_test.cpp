// The float64 oracle against answers worked out by hand, against properties it must have, and against the case files.
#include <gtest/gtest.h>

#include <filesystem>

#include "support/case_runs.hpp"
#include "support/generate.hpp"

namespace gqa_test {
namespace {

gqa::dynamic_spec make_spec(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t v_dim) {
  gqa::dynamic_spec s;
  s.heads = {q_heads, kv_heads};
  s.dims = {dim, v_dim};
  return s;
}

TEST(Reference, AgreesWithTheCaseFiles) {
  const std::filesystem::path data = std::filesystem::path(__FILE__).parent_path() / "data";
  int cases = 0;
  for (const char* folder : {"synthetic", "long", "models"})
    for (const auto& entry : std::filesystem::directory_iterator(data / folder)) {
      if (entry.path().extension() != ".safetensors") continue;
      EXPECT_LE(reference_error(read_case(entry.path().string())), 1e-9) << entry.path();
      ++cases;
    }
  EXPECT_GE(cases, 20);
}

/// Two keys, two queries, every feature, worked out term by term.
TEST(Reference, WorkedExample) {
  gqa::dynamic_spec s = make_spec(1, 1, 2, 1);
  s.scale = 0.5;
  s.softcap = 2;
  s.alibi = s.bias = s.sinks = true;
  problem p = make_problem(s, 1, 2, 2);
  p.q = {1, 2, 3, -1};
  p.k = {2, 1, -1, 4};
  p.v = {10, 20};
  p.alibi_slopes = {0.25};
  p.bias = {0.5, -7, 0.125, -0.75};
  p.sinks = {0.3};
  const gqa::reference_result r = reference(p);
  // Query 0 sees key 0: q.k = 4.
  const double first = 2 * std::tanh(0.5 * 4 / 2) + 0.25 * 0 + 0.5;
  EXPECT_NEAR(r.out(0, 0), 10 * std::exp(first) / (std::exp(first) + std::exp(0.3)), 1e-14);
  EXPECT_NEAR(r.lse[0], std::log(std::exp(first) + std::exp(0.3)), 1e-14);
  EXPECT_DOUBLE_EQ(r.magnitude[0], 0.5 * 4 + 0.5);
  // Query 1 sees both: q.k = 5 and -7; key 0 lies one position back.
  const double a = 2 * std::tanh(0.5 * 5 / 2) + 0.25 * -1 + 0.125, b = 2 * std::tanh(0.5 * -7 / 2) - 0.75;
  const double sum = std::exp(a) + std::exp(b) + std::exp(0.3);
  EXPECT_NEAR(r.out(1, 0), (10 * std::exp(a) + 20 * std::exp(b)) / sum, 1e-14);
  EXPECT_NEAR(r.lse[1], std::log(sum), 1e-14);
  EXPECT_DOUBLE_EQ(r.magnitude[1], std::max(0.5 * 7 + 0.125 + 0.25, 0.5 * 7 + 0.75));
  EXPECT_EQ(r.largest_v[1], 20);
}

TEST(Reference, RowsThatSeeNothing) {
  problem p = generate({make_spec(2, 1, 4, 3), 1, 2, 5}, 1);
  p.spec.window = 0;
  gqa::reference_result r = reference(p);
  EXPECT_TRUE((r.out.array() == 0).all());
  EXPECT_TRUE((r.lse.array() == -infinity).all());
  p.spec.sinks = true;
  p.sinks = {0.5, -3};
  r = reference(p);
  EXPECT_TRUE((r.out.array() == 0).all());
  EXPECT_EQ(r.lse[0], 0.5);
  EXPECT_EQ(r.lse[3], -3);
  EXPECT_EQ(r.out_bound(0), 0);
}

TEST(Reference, HiddenNanStaysHidden) {
  recipe with_nan{make_spec(2, 2, 4, 3), 1, 3, 9};
  with_nan.spec.mask = true;
  problem p = generate(with_nan, 2);
  for (std::int64_t i = 0; i < 3; ++i) p.mask[static_cast<std::size_t>(i * 9 + 4)] = 0;
  const gqa::reference_result want = reference(p);
  for (std::int64_t g = 0; g < 2; ++g) {
    for (std::int64_t d = 0; d < 4; ++d) p.k_at(0, 4, g, d) = nan;
    for (std::int64_t d = 0; d < 3; ++d) p.v_at(0, 4, g, d) = infinity;
  }
  const gqa::reference_result got = reference(p);
  EXPECT_TRUE(want.out == got.out);
  EXPECT_TRUE(want.lse == got.lse);
}

TEST(Reference, MinusInfinityBiasHidesAsAMaskDoes) {
  recipe r{make_spec(4, 2, 6, 5), 2, 4, 30};
  r.spec.bias = true;
  r.bias_heads = 4;
  problem by_bias = generate(r, 3);
  for (double& x : by_bias.bias) x = 0;
  problem by_mask = by_bias;
  by_mask.spec.bias = false;
  by_mask.spec.mask = true;
  by_mask.mask.assign(2 * 4 * 30, 1);
  random_source draw(4);
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t at = 0; at < 4 * 30; ++at)
      if (draw.between(0, 2) == 0) {
        by_mask.mask[static_cast<std::size_t>(b * 120 + at)] = 0;
        for (std::int64_t h = 0; h < 4; ++h) by_bias.bias[static_cast<std::size_t>((b * 4 + h) * 120 + at)] = -infinity;
      }
  EXPECT_TRUE(reference(by_bias).out == reference(by_mask).out);
  EXPECT_TRUE(reference(by_bias).lse == reference(by_mask).lse);
}

TEST(Reference, ViewsReadEveryTypeAndStride) {
  const float floats[] = {1.5f, -2, 3};
  const gqa::f16 halves[] = {gqa::f16(0.5f), gqa::f16(-4.0f)};
  const gqa::bf16 brains[] = {gqa::bf16(0.25f)};
  const std::uint8_t bytes[] = {0, 200};
  EXPECT_EQ(gqa::real_view(floats)(2), 3.0);
  EXPECT_EQ(gqa::real_view(floats, {2, 1, 0, 0})(1, 0, 7), 3.0);
  EXPECT_EQ(gqa::real_view(halves)(1), -4.0);
  EXPECT_EQ(gqa::real_view(brains)(0), 0.25);
  EXPECT_EQ(gqa::real_view(bytes)(1), 200.0);
  EXPECT_FALSE(gqa::real_view().present());
}

TEST(Reference, RefusesWhatItCannotAnswer) {
  const double x[64] = {};
  gqa::reference_problem p;
  gqa::reference_result r;
  const auto refused = [&](const char* argument) {
    const gqa::status s = gqa::reference_attention(p, r);
    EXPECT_STREQ(s.argument, argument) << s.message();
    EXPECT_FALSE(s.ok());
  };
  refused("q_heads");
  p.spec = make_spec(2, 1, 4, 4);
  refused("kv_lens");
  p.kv_lens = 3;
  refused("q");
  p.q = p.k = gqa::real_view(x);
  refused("v");
  p.v = gqa::real_view(x);
  p.spec.sinks = true;
  refused("sinks");
  p.spec.sinks = false;
  p.q_lens = 2;
  refused("q_lens");
  p.q_lens = 1;
  p.kv_lens = -1;
  refused("kv_lens");
  p.kv_lens = 3;
  EXPECT_TRUE(gqa::reference_attention(p, r).ok());
}

}  // namespace
}  // namespace gqa_test
