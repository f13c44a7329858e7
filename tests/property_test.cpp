// Properties that hold to the bit, over random configurations (support/property.hpp): how a question is stored, cut,
// batched or worded changes nothing that memcmp can see.
#include <gtest/gtest.h>

#include "support/by_contract.hpp"
#include "support/property_change.hpp"
#include "support/property_run.hpp"

namespace gqa_test {
namespace {

template <class Out>
std::string differ(const answer<Out>& a, const answer<Out>& b, const std::string& what) {
  return a.same_bits(b) ? "" : what;
}

/// Executors, threads, shares, layouts, strides, pages, cuts of the queries, alignment, targets, bytes without tokens.
TEST(Property, WayOfComputing) {
  check_property(1200, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const way a = draw_way(draw, p), b = draw_way(draw, p);
      return differ(run_way<Types>(p, a), run_way<Types>(p, b), a.name() + " against " + b.name());
    });
  });
}

/// model/arithmetic.hpp, word for word.
TEST(Property, TheContractWrittenOut) {
  check_property(400, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const way w = draw_way(draw, p);
      return differ(run_way<Types>(p, w), by_contract<typename Types::out>(p), w.name() + " against the contract");
    });
  });
}

TEST(Property, BatchMatesAndTheirOrder) {
  check_property(500, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) -> std::string {
      if (p.batch == 0) return "";
      std::vector<std::int64_t> which(static_cast<std::size_t>(draw.between(1, 4)));
      for (std::int64_t& b : which) b = draw.between(0, p.batch - 1);
      const auto together = run_way<Types>(p, draw_way(draw, p));
      const auto picked = pick(p, which);
      const auto apart = run_way<Types>(picked, draw_way(draw, picked));
      return differ(apart, pick(together, p.batch, which), "another batch");
    });
  });
}

TEST(Property, UnseenBytesMayHoldAnything) {
  check_property(500, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const problem zeros = with_unseen(p, [] { return 0.0; });
      const problem poisoned = with_unseen(p, [&] {
        const double fillers[] = {nan, infinity, -infinity, 3e38, -3e38, 1e-40, draw.normal()};
        return fillers[draw.between(0, 6)];
      });
      const way a = draw_way(draw, p), b = draw_way(draw, p);
      return differ(run_way<Types>(zeros, a), run_way<Types>(poisoned, b), a.name() + " against poisoned " + b.name());
    });
  });
}

TEST(Property, GroupedHeadsAreRepeatedHeads) {
  check_property(400, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const problem repeated = with_repeated_heads(p);
      return differ(run_way<Types>(p, draw_way(draw, p)), run_way<Types>(repeated, draw_way(draw, repeated)),
                    "multi-head form");
    });
  });
}

TEST(Property, NarrowCacheIsTheF32CacheOfItsValues) {
  check_property(400, [](const config& c) {
    const problem p = as_stored<float, gqa::f16, gqa::bf16>(inputs_of(c));
    random_source draw(c.seed);
    const auto want = run_way<all_f32>(p, draw_way(draw, p));
    return differ(run_way<mixed>(p, draw_way(draw, p)), want, "f16 keys, bf16 values");
  });
}

TEST(Property, NarrowOutputIsTheWideOneRounded) {
  check_property(200, [](const config& c) {
    const problem p = as_stored<gqa::f16, gqa::f16, gqa::f16>(inputs_of(c));
    random_source draw(c.seed);
    const auto wide = run_way<all_f32>(p, draw_way(draw, p));
    const auto narrow = run_way<gqa::types<gqa::f16>>(p, draw_way(draw, p));
    answer<gqa::f16> rounded_wide{{}, wide.lse};
    for (const float x : wide.out) rounded_wide.out.push_back(static_cast<gqa::f16>(x));
    for (gqa::f16& x : rounded_wide.out)
      if (x == gqa::f16(0)) x = gqa::f16(0);  // zeros are +0
    return differ(narrow, rounded_wide, "f16 output");
  });
}

template <class Heads, class Dims>
std::string static_equals_dynamic(const config& c, bool dynamic_heads) {
  using spec = gqa::attention_spec<Heads, Dims>;
  config fixed = c;
  if (!dynamic_heads) fixed.set_heads(Heads::kv_heads, Heads::group_size);
  fixed.shape.spec.dims = {Dims::head_dim, Dims::v_head_dim};
  return in_f32(fixed, [](const problem& p, random_source& draw) {
    const gqa::dynamic_spec& s = p.spec;
    const spec typed{{}, {}, s.scale, s.causal, s.window, s.sink_tokens, s.softcap,
                     s.alibi, s.bias, s.mask, s.sinks, s.lse};
    return differ(run_way<all_f32>(p, typed, draw_way(draw, p)), run_way<all_f32>(p, draw_way(draw, p)),
                  "static counts");
  });
}

TEST(Property, StaticCountsAndAliases) {
  check_property(300, [](const config& c) {
    switch (c.seed % 4) {
      case 0: return static_equals_dynamic<gqa::heads<6, 2>, gqa::dims<16>>(c, false);
      case 1: return static_equals_dynamic<gqa::mqa<5>, gqa::dims<17, 9>>(c, false);
      case 2: return static_equals_dynamic<gqa::mha<3>, gqa::dims<24, 40>>(c, false);
      default: return static_equals_dynamic<gqa::heads<32, 4>, gqa::dims<8>>(c, false);
    }
  });
}

/// Multiplying V by +-2^k multiplies the output, exactly: scores, weights and their sums do not know V.
TEST(Property, ValuesScaleTheOutput) {
  check_property(300, [](config c) {
    c.shape.spec.scale.reset();  // with these, weights may fall so low that products with V underflow
    c.shape.spec.alibi = false;
    return in_f32(c, [](problem p, random_source& draw) {
      const double factor = std::ldexp(draw.between(0, 1) ? 1 : -1, static_cast<int>(draw.between(-20, 60)));
      auto want = run_way<all_f32>(p, draw_way(draw, p));
      for (double& x : p.v) x *= factor;
      const auto got = run_way<all_f32>(p, draw_way(draw, p));
      for (float& x : want.out)
        if (x != canary) x = x * static_cast<float>(factor) + 0.0f;
      return differ(got, want, "V times " + std::to_string(factor));
    });
  });
}

/// Powers of two move freely between queries and scale.
TEST(Property, QueriesScaleTheScores) {
  check_property(200, [](const config& c) {
    return in_f32(c, [](problem p, random_source& draw) {
      const auto want = run_way<all_f32>(p, draw_way(draw, p));
      const double factor = std::ldexp(1, static_cast<int>(draw.between(-12, 12)));
      const double scale = p.spec.scale ? *p.spec.scale : 1 / std::sqrt(static_cast<double>(p.head_dim()));
      for (double& x : p.q) x *= factor;
      p.spec.scale = scale / factor;
      return differ(run_way<all_f32>(p, draw_way(draw, p)), want, "q times " + std::to_string(factor));
    });
  });
}

/// No element of V cares for its place: tails and whole registers compute alike.
TEST(Property, ColumnsOfValuesMayBePermuted) {
  check_property(300, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const std::vector<std::int64_t> order = random_order(p.v_head_dim(), draw);
      problem moved = p;
      permute_columns(moved.v, order);
      auto want = run_way<Types>(p, draw_way(draw, p));
      permute_columns(want.out, order);
      return differ(run_way<Types>(moved, draw_way(draw, p)), want, "columns of V permuted");
    });
  });
}

/// What positions hide, a mask and a bias of 0 and -inf hide as well.
TEST(Property, CausalFlagMaskAndBiasAreOne) {
  check_property(400, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) {
      const auto want = run_way<Types>(p, draw_way(draw, p));
      const problem by_mask = positions_as_mask(p), by_bias = positions_as_bias(p);
      const std::string masked = differ(run_way<Types>(by_mask, draw_way(draw, by_mask)), want, "a mask");
      return masked.empty() ? differ(run_way<Types>(by_bias, draw_way(draw, by_bias)), want, "a bias") : masked;
    });
  });
}

/// Features that are on and say nothing.
TEST(Property, NeutralFeaturesAreNone) {
  check_property(500, [](const config& c) {
    return with_types(c, []<class Types>(const problem& p, random_source& draw) -> std::string {
      const auto want = run_way<Types>(p, draw_way(draw, p));
      for (const neutral& feature : neutral_features()) {
        const std::optional<problem> changed = feature.add(p);
        if (!changed) continue;
        auto got = run_way<Types>(*changed, draw_way(draw, *changed));
        if (changed->spec.lse != p.spec.lse) got.lse = want.lse;
        if (!got.same_bits(want)) return feature.name;
      }
      return "";
    });
  });
}

/// The search itself: a property broken by two of a configuration's traits is reported with those alone.
TEST(Property, ShrinkingKeepsOnlyWhatBreaks) {
  const property broken = [](const config& c) -> std::string {
    return c.shape.kv_len >= 257 && c.shape.spec.bias && c.shape.spec.dims.head_dim > 10 ? "broken" : "";
  };
  int found = 0;
  for (std::uint64_t seed = 1; seed < 3000; ++seed) {
    const config c = draw_config(seed);
    if (evaluate(broken, c).empty()) continue;
    ++found;
    const config least = shrink(c, broken);
    ASSERT_EQ(least.text(), "types 0, heads 1/1, dims 11/1, batch 0, q_len 0, kv_len 257, bias of 1 heads") << c.text();
  }
  EXPECT_GT(found, 3);
}

}  // namespace
}  // namespace gqa_test
