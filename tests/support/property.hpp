// Random configurations for properties that hold to the bit, and the search for the smallest that breaks a property.
//
//   GQA_RANDOM_SEEDS=1000000 property_test                                   a million configurations a property
//   GQA_RANDOM_FIRST=77 GQA_RANDOM_SEEDS=1 property_test --gtest_filter=...  the one that failed, again
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "generate.hpp"

namespace gqa_test {

/// Everything a property draws from: the same configuration gives the same inputs and the same choices.
struct config {
  recipe shape;
  int types = 0;           ///< which storage types, 0 ... 3 (property_run.hpp)
  std::uint64_t seed = 0;  ///< of the inputs and of what the property chooses
  bool sparse = false;     ///< most values are 0, so that what underflows elsewhere shows

  [[nodiscard]] std::int64_t group() const { return shape.spec.heads.q_heads / shape.spec.heads.kv_heads; }
  void set_heads(std::int64_t kv_heads, std::int64_t group_size) {
    shape.spec.heads = {kv_heads * group_size, kv_heads};
    if (shape.bias_heads != 1) shape.bias_heads = shape.spec.heads.q_heads;
  }
  /// Work of one run and elements to draw, roughly.
  [[nodiscard]] double size() const {
    const recipe& r = shape;
    const double heads = static_cast<double>(r.spec.heads.kv_heads * (1 + r.q_len * group()));
    return static_cast<double>(r.batch * (r.kv_len + 1) * (r.spec.dims.head_dim + r.spec.dims.v_head_dim)) * heads;
  }
  [[nodiscard]] std::string text() const {
    const recipe& r = shape;
    const gqa::dynamic_spec& s = r.spec;
    std::ostringstream o;
    o << "types " << types << ", heads " << s.heads.q_heads << '/' << s.heads.kv_heads << ", dims " << s.dims.head_dim
      << '/' << s.dims.v_head_dim << ", batch " << r.batch << (r.ragged ? " ragged" : "") << ", q_len " << r.q_len
      << ", kv_len " << r.kv_len << (s.causal ? ", causal" : "");
    if (s.scale) o << ", scale " << *s.scale;
    if (s.window >= 0) o << ", window " << s.window;
    if (s.sink_tokens > 0) o << ", sink_tokens " << s.sink_tokens;
    if (s.softcap > 0) o << ", softcap " << s.softcap;
    if (s.alibi) o << ", alibi";
    if (s.bias) o << ", bias of " << r.bias_heads << " heads";
    if (s.mask) o << ", mask";
    if (s.sinks) o << ", sinks";
    if (s.lse) o << ", lse";
    if (sparse) o << ", sparse";
    return o.str();
  }
};

/// Lengths around nothing, a block of 64, a chunk of 256 and several chunks; every feature in about a quarter.
[[nodiscard]] inline config draw_config(std::uint64_t seed) {
  random_source draw(seed * 2 + 1);
  const auto one_in = [&](std::int64_t n) { return draw.between(1, n) == 1; };
  config c;
  c.seed = seed;
  c.types = static_cast<int>(draw.between(0, 3));
  recipe& r = c.shape;
  gqa::dynamic_spec& s = r.spec;
  const bool is_long = one_in(3);
  r.kv_len = is_long ? draw.between(200, one_in(4) ? 2500 : 800) : draw.between(one_in(10) ? 0 : 1, 140);
  r.batch = is_long ? draw.between(1, 2) : draw.between(one_in(10) ? 0 : 1, 3);
  r.ragged = one_in(2);
  const std::int64_t kv_heads = draw.between(1, is_long ? 2 : 4);
  const std::int64_t group = one_in(6) ? draw.between(9, 40) : draw.between(1, 8);
  s.dims.head_dim = one_in(8) && !is_long ? draw.between(65, 200) : draw.between(1, is_long ? 24 : 64);
  s.dims.v_head_dim = one_in(2) ? s.dims.head_dim : draw.between(1, is_long ? 40 : 100);
  s.causal = !one_in(4);
  r.q_len = one_in(5) ? draw.between(9, 90) : draw.between(one_in(10) ? 0 : 1, 8);
  if (s.causal) r.q_len = std::min(r.q_len, r.kv_len);
  s.lse = !one_in(4);
  if (one_in(3)) s.scale = draw.normal();
  if (one_in(3)) s.window = draw.between(0, r.kv_len + 3);
  if (one_in(3)) s.sink_tokens = draw.between(0, one_in(3) ? r.kv_len + 3 : 8);
  if (one_in(4)) s.softcap = 0.5 + 30 * draw.uniform();
  s.alibi = one_in(4);
  s.bias = one_in(4);
  s.mask = one_in(4);
  s.sinks = one_in(4);
  if (one_in(2)) r.bias_heads = 0;  // one a head
  c.set_heads(kv_heads, group);
  if (one_in(5)) {  // scores so far apart that weights fall to 0
    s.scale = (3 + 60 * draw.uniform()) / std::sqrt(static_cast<double>(s.dims.head_dim));
    c.sparse = true;
  }
  while (c.size() > 4e6 && r.q_len > 1) r.q_len /= 2;
  return c;
}

/// Configurations one step smaller, the boldest steps first.
[[nodiscard]] inline std::vector<config> smaller(const config& c) {
  std::vector<config> out;
  const auto with = [&](const auto& change) {
    config next = c;
    change(next);
    if (next.shape.spec.causal) next.shape.q_len = std::min(next.shape.q_len, next.shape.kv_len);
    if (next.text() != c.text()) out.push_back(next);
  };
  const auto reduce = [&](std::int64_t value, std::int64_t least, const auto& set) {
    for (const std::int64_t to : {least, value / 2, value - value / 8, value - 1})
      if (to >= least && to < value) with([&](config& x) { set(x, to); });
  };
  reduce(c.shape.kv_len, 0, [](config& x, std::int64_t n) { x.shape.kv_len = n; });
  reduce(c.shape.q_len, 0, [](config& x, std::int64_t n) { x.shape.q_len = n; });
  reduce(c.shape.batch, 0, [](config& x, std::int64_t n) { x.shape.batch = n; });
  reduce(c.shape.spec.heads.kv_heads, 1, [](config& x, std::int64_t n) { x.set_heads(n, x.group()); });
  reduce(c.group(), 1, [](config& x, std::int64_t n) { x.set_heads(x.shape.spec.heads.kv_heads, n); });
  reduce(c.shape.spec.dims.head_dim, 1, [](config& x, std::int64_t n) { x.shape.spec.dims.head_dim = n; });
  reduce(c.shape.spec.dims.v_head_dim, 1, [](config& x, std::int64_t n) { x.shape.spec.dims.v_head_dim = n; });
  reduce(c.shape.spec.window, 0, [](config& x, std::int64_t n) { x.shape.spec.window = n; });
  reduce(c.shape.spec.sink_tokens, 0, [](config& x, std::int64_t n) { x.shape.spec.sink_tokens = n; });
  with([](config& x) { x.types = 0; });
  with([](config& x) { x.sparse = false; });
  with([](config& x) { x.shape.ragged = false; });
  with([](config& x) { x.shape.bias_heads = 1; });
  with([](config& x) { x.shape.spec.scale.reset(); });
  with([](config& x) { x.shape.spec.window = gqa::no_window; });
  with([](config& x) { x.shape.spec.softcap = 0; });
  with([](config& x) { x.shape.spec.causal = false; });
  for (bool gqa::dynamic_spec::*flag : {&gqa::dynamic_spec::alibi, &gqa::dynamic_spec::bias, &gqa::dynamic_spec::mask,
                                        &gqa::dynamic_spec::sinks, &gqa::dynamic_spec::lse})
    with([&](config& x) { x.shape.spec.*flag = false; });
  return out;
}

[[nodiscard]] inline problem inputs_of(const config& c) {
  problem p = generate(c.shape, c.seed + 7000000);
  random_source draw(c.seed);
  for (double& x : p.v)
    if (c.sparse && !std::isnan(x) && draw.between(0, 19) != 0) x = 0;
  return p;
}

/// Empty where the property holds for the configuration, else what broke.
using property = std::function<std::string(const config&)>;

[[nodiscard]] inline std::string evaluate(const property& holds, const config& c) {
  try {
    return holds(c);
  } catch (const std::exception& e) {
    return e.what();
  }
}

/// Greedy: takes the first smaller configuration that still breaks, until none does.
[[nodiscard]] inline config shrink(config c, const property& holds) {
  for (bool found = true; found;) {
    found = false;
    for (const config& next : smaller(c))
      if (!evaluate(holds, next).empty()) {
        c = next;
        found = true;
        break;
      }
  }
  return c;
}

[[nodiscard]] inline std::uint64_t number_from_environment(const char* name, std::uint64_t absent) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : absent;
}

/// Checks `configurations` random configurations (or GQA_RANDOM_SEEDS) and reports the smallest that breaks.
inline void check_property(std::uint64_t configurations, const property& holds) {
  const std::uint64_t first = number_from_environment("GQA_RANDOM_FIRST", 1);
  const std::uint64_t count = number_from_environment("GQA_RANDOM_SEEDS", configurations);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const config c = draw_config(seed);
    const std::string broken = evaluate(holds, c);
    if (broken.empty()) continue;
    const config least = shrink(c, holds);
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string program = test->file();  // its source has its name
    program = program.substr(program.rfind('/') + 1);
    program.resize(program.rfind('.'));
    FAIL() << broken << "\nseed " << seed << ": " << c.text() << "\nsmallest: " << least.text() << ": "
           << evaluate(holds, least) << "\nagain: GQA_RANDOM_FIRST=" << seed
           << " GQA_RANDOM_SEEDS=1 " << program << " --gtest_filter=" << test->test_suite_name() << '.' << test->name();
  }
}

}  // namespace gqa_test
