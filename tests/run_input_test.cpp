// What run, update and the choice of a target refuse: pointers, extents, capacities, names; with nothing written.
#include "support/broken_call.hpp"

#include <cstdlib>

namespace gqa_test {
namespace {

using C = contiguous_call&;
using plan_type = gqa::attention_plan<f32_types, gqa::contiguous_layout>;

/// The pointer, one byte further.
template <class T>
T* shifted(T* p) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(p) + 1);
}

TEST(RunInput, NullPointers) {
  refused(kind::null, {"q"}, [](C c) { c.io.q = nullptr; });
  refused(kind::null, {"k"}, [](C c) { c.io.k = nullptr; });
  refused(kind::null, {"v"}, [](C c) { c.io.v = nullptr; });
  refused(kind::null, {"out"}, [](C c) { c.io.out = nullptr; });
  refused(kind::null, {"lse"}, [](C c) { c.io.lse = nullptr; });
  refused(kind::null, {"bias"}, [](C c) { c.io.bias = nullptr; });
  refused(kind::null, {"mask"}, [](C c) { c.io.mask = nullptr; });
  refused(kind::null, {"alibi_slopes"}, [](C c) { c.io.alibi_slopes = nullptr; });
  refused(kind::null, {"sinks"}, [](C c) { c.io.sinks = nullptr; });
}

TEST(RunInput, MisalignedPointers) {
  refused(kind::misaligned, {"q"}, [](C c) { c.io.q = shifted(c.io.q); });
  refused(kind::misaligned, {"k"}, [](C c) { c.io.k = shifted(c.io.k); });
  refused(kind::misaligned, {"v"}, [](C c) { c.io.v = shifted(c.io.v); });
  refused(kind::misaligned, {"out"}, [](C c) { c.io.out = shifted(c.io.out); });
  refused(kind::misaligned, {"lse"}, [](C c) { c.io.lse = shifted(c.io.lse); });
  refused(kind::misaligned, {"bias"}, [](C c) { c.io.bias = shifted(c.io.bias); });
  refused(kind::misaligned, {"alibi_slopes"}, [](C c) { c.io.alibi_slopes = shifted(c.io.alibi_slopes); });
  refused(kind::misaligned, {"sinks"}, [](C c) { c.io.sinks = shifted(c.io.sinks); });
}

TEST(RunInput, OutputOverInput) {
  refused(kind::overlap, {"out", "q"}, [](C c) { c.io.q = c.out.data(); });
  refused(kind::overlap, {"out", "k"}, [](C c) { c.k.resize(1024), c.io.k = c.k.data(), c.io.out = c.k.data() + 100; });
  refused(kind::overlap, {"out", "v"}, [](C c) { c.v.resize(1024), c.io.v = c.v.data(), c.io.out = c.v.data() + 200; });
  refused(kind::overlap, {"out", "bias"}, [](C c) { c.io.bias = c.out.data(); });
  refused(kind::overlap, {"out", "mask"},
          [](C c) { c.io.mask = reinterpret_cast<const std::uint8_t*>(c.out.data() + 5); });
  refused(kind::overlap, {"out", "alibi_slopes"}, [](C c) { c.io.alibi_slopes = c.out.data() + 6; });
  refused(kind::overlap, {"out", "sinks"}, [](C c) { c.io.sinks = c.out.data() + 7; });
  refused(kind::overlap, {"lse", "q"}, [](C c) { c.io.lse = c.q.data() + 40; });
  refused(kind::overlap, {"lse", "k"}, [](C c) { c.io.lse = c.k.data() + 40; });
  refused(kind::overlap, {"lse", "sinks"}, [](C c) { c.io.sinks = c.lse.data() + 20; });
  refused(kind::overlap, {"lse", "out"}, [](C c) { c.io.lse = c.out.data() + 30; });
}

TEST(RunInput, ExtentsThatOnlyTouchAreNoOverlap) {
  contiguous_call c;
  std::vector<float> both(2 * 192);  // q, then out
  std::fill_n(both.begin(), 192, 0.5f);
  c.io.q = both.data();
  c.io.out = both.data() + 192;
  const gqa::status s = c.attempt();
  EXPECT_TRUE(s.ok()) << s.message();
}

/// A plan and a workspace for the valid call.
struct planned : contiguous_call {
  plan_type plan;
  std::vector<std::byte> workspace;
  planned() {
    const gqa::status s = plan_type::make(plan, spec, batch, layout, tensors, options);
    EXPECT_TRUE(s.ok()) << s.message();
    workspace.resize(plan.workspace_bytes());
  }
  gqa::status run() { return plan.run(io, workspace, gqa::sequential_executor{}); }
};

TEST(RunInput, Workspace) {
  planned c;
  if (c.workspace.empty()) return;  // nothing to be short of
  gqa::status s = c.plan.run(c.io, {c.workspace.data(), c.workspace.size() - 1}, gqa::sequential_executor{});
  EXPECT_EQ(s.code, gqa::errc::out_of_range) << s.message();
  EXPECT_TRUE(names_one_of(s.argument, {"workspace"})) << s.message();
  s = c.plan.run(c.io, {}, gqa::sequential_executor{});
  EXPECT_FALSE(s.ok());
  EXPECT_TRUE(names_one_of(s.argument, {"workspace"})) << s.message();
  EXPECT_TRUE(c.untouched());

  std::vector<float> shared(c.workspace.size() / sizeof(float) + 400, untouched_value);
  c.io.out = shared.data();
  s = c.plan.run(c.io, std::as_writable_bytes(std::span(shared)), gqa::sequential_executor{});
  EXPECT_EQ(s.code, gqa::errc::overlap) << s.message();
  EXPECT_TRUE(names_one_of(s.argument, {"workspace", "out"})) << s.message();
  for (const float x : shared) ASSERT_EQ(x, untouched_value);
  c.io.out = c.out.data();
  c.io.q = shared.data();
  s = c.plan.run(c.io, std::as_writable_bytes(std::span(shared)), gqa::sequential_executor{});
  EXPECT_EQ(s.code, gqa::errc::overlap) << s.message();
  for (const float x : shared) ASSERT_EQ(x, untouched_value);
}

TEST(RunInput, NotPlanned) {
  contiguous_call c;
  plan_type plan;
  gqa::status s = plan.run(c.io, {}, gqa::sequential_executor{});
  EXPECT_EQ(s.code, gqa::errc::not_planned);
  s = plan.update(c.batch, c.layout);
  EXPECT_EQ(s.code, gqa::errc::not_planned);
  c.spec.heads.kv_heads = 3;
  EXPECT_FALSE(plan_type::make(plan, c.spec, c.batch, c.layout, c.tensors).ok());
  s = plan.run(c.io, {}, gqa::sequential_executor{});
  EXPECT_EQ(s.code, gqa::errc::not_planned);
  EXPECT_TRUE(c.untouched());
}

TEST(RunInput, UpdateBeyondCapacityLeavesThePlanAsItWas) {
  planned c;
  const auto update = [&](std::int64_t size, std::vector<std::int64_t> q_lens, std::vector<std::int64_t> kv_lens,
                          const char* name) {
    const gqa::status s = c.plan.update({size, q_lens, kv_lens, {}}, c.layout);
    EXPECT_FALSE(s.ok()) << "accepted; expected a complaint about " << name;
    EXPECT_TRUE(s.ok() || names_one_of(s.argument, {name})) << s.message();
  };
  update(2, {2, 4}, {5, 6}, "q_lens");       // max_q_len is 3
  update(3, {1, 1, 1}, {5, 6, 6}, "batch");  // max_batch is 2
  update(2, {1, 1}, {5, 9}, "kv_lens");      // the cache has room for 8
  update(2, {1, 1}, {5, -1}, "kv_lens");
  update(2, {1, 3}, {5, 2}, "q_lens");
  gqa::status s = c.run();
  ASSERT_TRUE(s.ok()) << s.message();
  contiguous_call fresh;
  ASSERT_TRUE(fresh.attempt().ok());
  EXPECT_EQ(c.out, fresh.out);
  EXPECT_EQ(c.lse, fresh.lse);

  contiguous_call small;
  small.options.max_kv_len = 6;
  plan_type plan;
  ASSERT_TRUE(plan_type::make(plan, small.spec, small.batch, small.layout, small.tensors, small.options).ok());
  const std::vector<std::int64_t> longer = {5, 7};
  s = plan.update({2, 1, longer, {}}, small.layout);
  EXPECT_FALSE(s.ok());
  EXPECT_TRUE(names_one_of(s.argument, {"kv_lens"})) << s.message();
}

/// Sets GQA_ISA for a scope.
class environment {
 public:
  explicit environment(const char* value) {
    const char* old = std::getenv("GQA_ISA");
    had_ = old != nullptr;
    if (had_) old_ = old;
    setenv("GQA_ISA", value, 1);
  }
  ~environment() {
    if (had_) setenv("GQA_ISA", old_.c_str(), 1);
    else unsetenv("GQA_ISA");
  }

 private:
  bool had_ = false;
  std::string old_;
};

TEST(RunInput, Target) {
  {
    const environment unknown("sse9");
    refused(kind::value, {"GQA_ISA"}, [](C) {});
    contiguous_call c;
    c.options.target = gqa::isa::portable;  // the option wins over the environment
    EXPECT_TRUE(c.attempt().ok());
  }
  {
    const environment portable("portable");
    contiguous_call c;
    plan_type plan;
    ASSERT_TRUE(plan_type::make(plan, c.spec, c.batch, c.layout, c.tensors).ok());
    EXPECT_EQ(plan.target(), gqa::isa::portable);
  }
  refused(kind::unsupported, {"isa"}, [](C c) { c.options.target = static_cast<gqa::isa>(77); });
  for (const gqa::isa target : gqa::all_isas) {
    if (gqa::is_supported(target)) continue;
    refused(kind::unsupported, {"isa"}, [&](C c) { c.options.target = target; });
    const environment lacking(gqa::name(target));
    refused(kind::unsupported, {"isa", "GQA_ISA"}, [](C) {});
  }
}

#if GQA_EXCEPTIONS
TEST(RunInput, ThrowingForms) {
  contiguous_call c;
  c.spec.heads.kv_heads = 3;
  try {
    gqa::attend(c.spec, c.batch, c.layout, c.io, c.tensors);
    ADD_FAILURE() << "did not throw";
  } catch (const gqa::error& e) {
    EXPECT_STREQ(e.why().argument, "kv_heads");
    EXPECT_EQ(std::string(e.what()), "kv_heads is 3: expected a divisor of q_heads (4)");
  }
  EXPECT_THROW(plan_type(c.spec, c.batch, c.layout, c.tensors), gqa::error);
  EXPECT_TRUE(c.untouched());
  c.spec.heads.kv_heads = 2;
  EXPECT_NO_THROW(plan_type(c.spec, c.batch, c.layout, c.tensors));
}
#endif

}  // namespace
}  // namespace gqa_test
