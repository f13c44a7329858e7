// Accuracy: every element within the a-priori bound of support/error_bound.hpp, over random configurations, long
// contexts and scores far apart; 16-bit outputs correctly rounded almost always. GQA_RANDOM_SEEDS sets how many
// configurations are drawn.
#include <gtest/gtest.h>

#include <bit>
#include <gqa/isa/detect.hpp>
#include <gqa/kernel/regions.hpp>

#include "support/bound.hpp"
#include "support/error_bound.hpp"
#include "support/property_run.hpp"

namespace gqa_test {
namespace {

/// Largest errors as shares of their bounds.
struct shares {
  comparison out, lse;
};

/// Compares with the float64 oracle; what exceeds the bound is in `where`.
template <class Out>
void compare_with_bound(const problem& p, const answer<Out>& a, shares& s) {
  const gqa::reference_result r = reference(p);
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_lens[static_cast<std::size_t>(b)]; ++i)
      for (std::int64_t h = 0; h < p.q_heads(); ++h) {
        const row_bound bound = error_bound(p, b, i, h);
        const std::int64_t row = r.row(b, i, h);
        const std::string at = "[" + std::to_string(b) + "][" + std::to_string(i) + "][" + std::to_string(h) + "]";
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d) {
          const double want = r.out(row, d), most = bound.out[static_cast<std::size_t>(d)];
          s.out.add(static_cast<float>(a.out[static_cast<std::size_t>(row * p.v_head_dim() + d)]), want, most,
                    half_unit<Out>(std::abs(want) + most), "out", at + "[" + std::to_string(d) + "]");
        }
        if (p.spec.lse) s.lse.add(a.lse[static_cast<std::size_t>(row)], r.lse[row], bound.lse, 0, "lse", at);
      }
}

template <class Types>
std::string beyond_bound(const problem& p, const way& w, shares& s) {
  shares now;
  compare_with_bound(p, run_way<Types>(p, w), now);
  s.out.join(now.out);
  s.lse.join(now.lse);
  return now.out.where + now.lse.where;
}

void report(const char* what, const shares& s) {
  std::printf("%s: largest share of the bound %.3f in %lld elements of out, %.3f in %lld of lse\n", what, s.out.share,
              static_cast<long long>(s.out.checked), s.lse.share, static_cast<long long>(s.lse.checked));
}

TEST(Accuracy, RandomConfigurationsStayWithinTheBound) {
  shares s;
  check_property(500, [&](const config& c) {
    return with_types(c, [&]<class Types>(const problem& p, random_source& draw) {
      return beyond_bound<Types>(p, draw_way(draw, p), s);
    });
  });
  report("random", s);
  EXPECT_GT(s.out.checked, 0);
}

/// Scores from harmless to far apart; the bound follows them.
TEST(Accuracy, AnyMagnitudeOfScores) {
  for (const double size : {1e-30, 1e-3, 1.0, 30.0, 1e3, 1e4, 1e6, 1e15, 1e30}) {
    shares s;
    check_property(20, [&](config c) {
      c.shape.spec.softcap = 0;
      c.shape.spec.scale = size;
      return in_f32(c, [&](const problem& p, random_source& draw) {
        return beyond_bound<all_f32>(p, draw_way(draw, p), s);
      });
    });
    char what[32];
    std::snprintf(what, sizeof what, "scale %g", size);
    report(what, s);
  }
}

gqa::dynamic_spec plain(std::int64_t dim, std::int64_t v_dim) {
  gqa::dynamic_spec s;
  s.heads = {2, 1};
  s.dims = {dim, v_dim};
  s.lse = true;
  return s;
}

/// Scores of +1e30 and -1e30 side by side, from q . k and from the bias: the former alone weigh, all alike.
TEST(Accuracy, HugeScoresOfBothSigns) {
  for (const bool by_bias : {false, true}) {
    gqa::dynamic_spec spec = plain(1, 3);
    spec.scale = 1;
    spec.bias = by_bias;
    problem p = make_problem(spec, 1, 1, 700);
    random_source draw(5);
    for (double& x : p.q) x = by_bias ? 0 : 1e15;
    for (std::int64_t j = 0; j < p.kv_len; ++j) {
      const bool high = draw.between(0, 2) == 0;
      p.k_at(0, j, 0, 0) = high ? 1e15 : -1e15;
      if (by_bias) p.bias[static_cast<std::size_t>(j)] = high ? 1e30 : -1e30;
      p.v_at(0, j, 0, 0) = high ? 0.75 : draw.normal();
      p.v_at(0, j, 0, 1) = high ? 1e4 : -1e30;
      p.v_at(0, j, 0, 2) = draw.normal();
    }
    p = as_stored<float, float, float>(p);
    shares s;
    EXPECT_EQ(beyond_bound<all_f32>(p, {}, s), "");
    const auto a = run_way<all_f32>(p, {});
    EXPECT_NEAR(a.out[0], 0.75, 0x1p-15);
    EXPECT_NEAR(a.out[1], 1e4, 1e4 * 0x1p-15);
    report(by_bias ? "+-1e30 in the bias" : "+-1e30 from q . k", s);
  }
}

/// 2^20 keys that weigh alike: the mean of V. Constants come out as they went in, in f16 too.
TEST(Accuracy, AMillionKeysGiveTheMean) {
  const std::int64_t keys = std::int64_t{1} << 20;
  gqa::dynamic_spec spec = plain(1, 2);
  spec.heads = {1, 1};
  problem p = make_problem(spec, 1, 1, keys);
  random_source draw(3);
  for (double& x : p.k) x = draw.normal();  // q = 0: no key matters
  for (double& x : p.v) x = draw.normal();
  p = as_stored<float, float, float>(p);
  shares s;
  way several;
  several.how.shares = 3;
  EXPECT_EQ(beyond_bound<all_f32>(p, several, s), "");
  report("mean of a million", s);
  for (const double constant : {1.0, 1000.0, 60000.0}) {
    for (std::size_t i = 0; i < p.v.size(); ++i) p.v[i] = i % 2 ? constant : -constant;
    const auto wide = run_way<all_f32>(p, several);
    const auto narrow = run_way<gqa::types<gqa::f16>>(p, {});
    for (std::size_t d = 0; d < 2; ++d) {
      EXPECT_EQ(wide.out[d], d ? constant : -constant);
      EXPECT_EQ(static_cast<float>(narrow.out[d]), d ? constant : -constant);
    }
    EXPECT_EQ(wide.lse[0], static_cast<float>(20 * std::log(2.0)));
  }
}

/// The nearest Out to x, ties to even, in one rounding.
template <class Out>
double nearest(double x) {
  const double unit = 2 * half_unit<Out>(std::abs(x));
  return std::nearbyint(x / unit) * unit;
}

template <class Out>
double correctly_rounded(std::int64_t& elements) {
  std::int64_t right = 0;
  elements = 0;
  std::uint64_t seed = 900;
  for (const std::int64_t dim : {64, 80, 128})
    for (const std::int64_t kv_len : {33, 300, 1500}) {
      gqa::dynamic_spec spec = plain(dim, dim);
      spec.heads = {8, 2};
      const problem p = as_stored<Out, Out, Out>(generate({spec, 1, 16, kv_len}, ++seed));
      const auto a = run_way<gqa::types<Out>>(p, {});
      const gqa::reference_result r = reference(p);
      for (std::int64_t row = 0; row < p.rows(); ++row)
        for (std::int64_t d = 0; d < dim; ++d) {
          const double got = static_cast<float>(a.out[static_cast<std::size_t>(row * dim + d)]);
          const double want = nearest<Out>(r.out(row, d));
          if (std::abs(want) > 0x1p-6) {  // below, values have cancelled
            EXPECT_LE(std::abs(got - want), 2 * half_unit<Out>(std::abs(want))) << "more than one place off";
          }
          right += got == want;
          ++elements;
        }
    }
  return static_cast<double>(right) / static_cast<double>(elements);
}

TEST(Accuracy, NarrowOutputsAreCorrectlyRoundedAlmostAlways) {
  std::int64_t elements = 0;
  const double f16 = correctly_rounded<gqa::f16>(elements), bf16 = correctly_rounded<gqa::bf16>(elements);
  std::printf("correctly rounded: f16 %.4f %%, bf16 %.4f %% of %lld elements each\n", 100 * f16, 100 * bf16,
              static_cast<long long>(elements));
  EXPECT_GE(f16, 0.99);
  EXPECT_GE(bf16, 0.999);
}

/// The bound's constant of exp2, over every 97th float (every one with GQA_TEST_EVERY_FLOAT) that a fraction can be;
/// nearer to 0 the polynomial is 1. kernel_test shows that all targets compute alike.
TEST(Accuracy, ExponentialOfAFraction) {
  const std::uint32_t stride = std::getenv("GQA_TEST_EVERY_FLOAT") ? 1 : 97;
  double worst = 0;
  for (const float sign : {1.0f, -1.0f})
    for (std::uint32_t bits = std::bit_cast<std::uint32_t>(0x1p-26f); bits <= std::bit_cast<std::uint32_t>(0.5f);) {
      gqa::portable::vec f;
      for (int i = 0; i < 4; ++i, bits += stride) f[i] = std::min(std::bit_cast<float>(bits), 0.5f) * sign;
      const gqa::portable::vec p = gqa::portable::twice_exp2(f);
      for (int i = 0; i < 4; ++i) {
        const double exact = 2 * std::exp2(static_cast<double>(f[i]));
        worst = std::max(worst, std::abs(static_cast<double>(p[i]) - exact) / exact);
      }
    }
  std::printf("2^f: largest relative error %.4f u\n", worst / 0x1p-24);
  EXPECT_LT(worst, error_bound_detail::poly_error);
}

}  // namespace
}  // namespace gqa_test
