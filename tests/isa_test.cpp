// Which target a plan gets: from what cpuid and the operating system report, a request, and GQA_ISA.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "support/any_processor.hpp"

namespace {

using gqa::isa;
using gqa::detail::cpu_features;
using gqa::detail::resolve;
using gqa::detail::supports;

// Bit numbers as the processor manuals give them, apart from the constants in the library.
constexpr int fma = 12, sse4_2 = 20, popcnt = 23, osxsave = 27, avx = 28, f16c = 29;     // leaf 1, ecx
constexpr int bmi1 = 3, avx2 = 5, bmi2 = 8;                                              // leaf 7, ebx
constexpr int avx512f = 16, avx512dq = 17, avx512cd = 28, avx512bw = 30, avx512vl = 31;  // leaf 7, ebx
constexpr int lzcnt = 5;                                                                 // 0x80000001, ecx
constexpr std::uint64_t x87_state = 1, sse_state = 2, ymm_state = 4, opmask = 0x20, zmm_low = 0x40, zmm_high = 0x80;

constexpr std::uint32_t bits(std::initializer_list<int> numbers) {
  std::uint32_t word = 0;
  for (int n : numbers) word |= std::uint32_t{1} << n;
  return word;
}

cpu_features sse2_machine() {
  cpu_features f;
  f.leaf1_ecx = bits({osxsave});
  f.xcr0 = x87_state | sse_state;
  return f;
}

cpu_features avx2_machine() {
  cpu_features f;
  f.leaf1_ecx = bits({fma, sse4_2, popcnt, osxsave, avx, f16c});
  f.leaf7_ebx = bits({bmi1, avx2, bmi2});
  f.extended_ecx = bits({lzcnt});
  f.xcr0 = x87_state | sse_state | ymm_state;
  return f;
}

cpu_features avx512_machine() {
  cpu_features f = avx2_machine();
  f.leaf7_ebx |= bits({avx512f, avx512dq, avx512cd, avx512bw, avx512vl});
  f.xcr0 |= opmask | zmm_low | zmm_high;
  return f;
}

cpu_features arm_machine() {
  cpu_features f;
  f.neon = true;
  return f;
}

void expect_supports(const cpu_features& f, bool has_avx2, bool has_avx512, const std::string& machine) {
  EXPECT_TRUE(supports(f, isa::portable)) << machine;
  EXPECT_EQ(supports(f, isa::avx2), has_avx2) << machine;
  EXPECT_EQ(supports(f, isa::avx512), has_avx512) << machine;
}

TEST(isa_detection, knows_whole_machines) {
  expect_supports(cpu_features{}, false, false, "nothing reported");
  expect_supports(sse2_machine(), false, false, "SSE2");
  expect_supports(avx2_machine(), true, false, "AVX2");
  expect_supports(avx512_machine(), true, true, "AVX-512");
  EXPECT_FALSE(supports(avx512_machine(), isa::neon));
  expect_supports(arm_machine(), false, false, "AArch64");
  EXPECT_TRUE(supports(arm_machine(), isa::neon));
}

TEST(isa_detection, ignores_features_it_does_not_need) {
  cpu_features f = avx512_machine();
  f.leaf1_ecx = f.leaf7_ebx = f.leaf7_ecx = f.extended_ecx = ~std::uint32_t{0};
  f.xcr0 = ~std::uint64_t{0};
  expect_supports(f, true, true, "every bit set");
}

TEST(isa_detection, a_cluster_lacks_nothing) {
  for (int bit : {fma, sse4_2, popcnt, osxsave, avx, f16c}) {
    cpu_features f = avx512_machine();
    f.leaf1_ecx &= ~bits({bit});
    expect_supports(f, false, false, "no leaf 1 ecx bit " + std::to_string(bit));
  }
  for (int bit : {bmi1, avx2, bmi2}) {
    cpu_features f = avx512_machine();
    f.leaf7_ebx &= ~bits({bit});
    expect_supports(f, false, false, "no leaf 7 ebx bit " + std::to_string(bit));
  }
  cpu_features no_lzcnt = avx512_machine();
  no_lzcnt.extended_ecx = 0;
  expect_supports(no_lzcnt, false, false, "no lzcnt");
  for (int bit : {avx512f, avx512dq, avx512cd, avx512bw, avx512vl}) {
    cpu_features f = avx512_machine();
    f.leaf7_ebx &= ~bits({bit});
    expect_supports(f, true, false, "no leaf 7 ebx bit " + std::to_string(bit));
  }
}

TEST(isa_detection, registers_the_operating_system_does_not_save_are_not_used) {
  for (std::uint64_t state : {sse_state, ymm_state}) {
    cpu_features f = avx512_machine();
    f.xcr0 &= ~state;
    expect_supports(f, false, false, "xcr0 without " + std::to_string(state));
  }
  for (std::uint64_t state : {opmask, zmm_low, zmm_high}) {
    cpu_features f = avx512_machine();
    f.xcr0 &= ~state;
    expect_supports(f, true, false, "xcr0 without " + std::to_string(state));
  }
}

TEST(isa_detection, agrees_with_the_compilers_view_of_this_machine) {
#if GQA_X86
  __builtin_cpu_init();
  EXPECT_EQ(gqa::is_supported(isa::avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                              __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"));
  EXPECT_EQ(gqa::is_supported(isa::avx512), __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                                __builtin_cpu_supports("avx512dq") &&
                                                __builtin_cpu_supports("avx512bw") &&
                                                __builtin_cpu_supports("avx512cd"));
#elif defined(__aarch64__)
  EXPECT_EQ(gqa::best_isa(), isa::neon);
#else
  EXPECT_EQ(gqa::best_isa(), isa::portable);
#endif
  EXPECT_TRUE(gqa::is_supported(gqa::best_isa()));
}

using gqa::detail::cpu_vendor;
using gqa::detail::processor_traits;
using gqa::detail::traits_of;
using gqa_test::xeon;
using gqa_test::zen3;
using gqa_test::zen4;
using gqa_test::zen5;

TEST(processors, are_told_apart_by_vendor_and_family) {
  using gqa::detail::family_of;
  using gqa::detail::vendor_of;
  const auto word = [](const char* letters) {
    std::uint32_t w;
    std::memcpy(&w, letters, sizeof w);
    return w;
  };
  EXPECT_EQ(vendor_of(word("Auth"), word("enti"), word("cAMD")), cpu_vendor::amd);
  EXPECT_EQ(vendor_of(word("Genu"), word("ineI"), word("ntel")), cpu_vendor::intel);
  EXPECT_EQ(vendor_of(word("Hygo"), word("nGen"), word("uine")), cpu_vendor::other);
  EXPECT_EQ(vendor_of(0, 0, 0), cpu_vendor::other);
  EXPECT_EQ(family_of(zen3), 25u);
  EXPECT_EQ(family_of(zen4), 25u);
  EXPECT_EQ(family_of(zen5), 26u);
  EXPECT_EQ(family_of(xeon), 6u);
}

TEST(processors, have_traits_of_their_own) {
  EXPECT_TRUE(traits_of(zen4, isa::avx512).halves_registers);
  EXPECT_FALSE(traits_of(zen5, isa::avx512).halves_registers);
  EXPECT_FALSE(traits_of(xeon, isa::avx512).halves_registers);
  for (const isa target : {isa::avx2, isa::avx512}) {
    const processor_traits amd = traits_of(zen4, target), intel = traits_of(xeon, target);
    EXPECT_TRUE(amd.prefetches_pages);
    EXPECT_EQ(amd.bytes_ahead, 32 * 1024);
    EXPECT_EQ(amd.asks_for_heads, target == isa::avx512);
    EXPECT_FALSE(amd.asks_for_one_head);
    EXPECT_TRUE(amd.follows_tiles);
    EXPECT_TRUE(amd.memory_order);
    EXPECT_TRUE(amd.in_turn);
    EXPECT_EQ(amd.first_level_rows, 0);
    EXPECT_FALSE(amd.by_parts);
    EXPECT_FALSE(intel.prefetches_pages);
    EXPECT_EQ(intel.bytes_ahead, 0);
    EXPECT_TRUE(intel.asks_for_heads);
    EXPECT_TRUE(intel.asks_for_one_head);
    EXPECT_FALSE(intel.follows_tiles);
    EXPECT_EQ(intel.memory_order, target != isa::avx512);
    EXPECT_EQ(intel.in_turn, target != isa::avx512);
    EXPECT_EQ(intel.first_level_rows, target == isa::avx512 ? 4 : 1);
    EXPECT_TRUE(intel.by_parts);
  }
}

TEST(processors, nobody_knows_take_the_defaults) {
  EXPECT_EQ(traits_of(zen3, isa::avx2), processor_traits{});
  EXPECT_EQ(traits_of(zen4, isa::avx2), processor_traits{});
  EXPECT_EQ(traits_of(avx512_machine(), isa::avx2), processor_traits{});
  EXPECT_EQ(traits_of(arm_machine(), isa::neon), processor_traits{});
  EXPECT_EQ(traits_of(sse2_machine(), isa::portable), processor_traits{});
}

TEST(isa_choice, is_the_best_one_unless_told) {
  isa chosen{};
  for (const char* silent : {static_cast<const char*>(nullptr), ""}) {
    ASSERT_TRUE(resolve(sse2_machine(), {}, silent, chosen).ok());
    EXPECT_EQ(chosen, isa::portable);
    ASSERT_TRUE(resolve(avx2_machine(), {}, silent, chosen).ok());
    EXPECT_EQ(chosen, isa::avx2);
    ASSERT_TRUE(resolve(avx512_machine(), {}, silent, chosen).ok());
    EXPECT_EQ(chosen, isa::avx512);
    ASSERT_TRUE(resolve(arm_machine(), {}, silent, chosen).ok());
    EXPECT_EQ(chosen, isa::neon);
  }
}

TEST(isa_choice, takes_the_environments_word) {
  isa chosen{};
  for (isa target : gqa::all_isas) {
    const cpu_features machine = target == isa::neon ? arm_machine() : avx512_machine();
    ASSERT_TRUE(resolve(machine, {}, gqa::name(target), chosen).ok());
    EXPECT_EQ(chosen, target);
  }
  ASSERT_TRUE(resolve(arm_machine(), {}, "portable", chosen).ok());
  EXPECT_EQ(chosen, isa::portable);
}

TEST(isa_choice, a_request_comes_before_the_environment) {
  isa chosen{};
  ASSERT_TRUE(resolve(avx512_machine(), isa::avx2, "portable", chosen).ok());
  EXPECT_EQ(chosen, isa::avx2);
  ASSERT_TRUE(resolve(avx2_machine(), isa::portable, "avx512", chosen).ok());
  EXPECT_EQ(chosen, isa::portable);
  ASSERT_TRUE(resolve(avx2_machine(), isa::avx2, "no such target", chosen).ok());
  EXPECT_EQ(chosen, isa::avx2);
}

TEST(isa_choice, refuses_a_word_that_is_no_target) {
  for (const char* word : {"sse2", "AVX2", "avx2 ", " ", "best", "avx512_bf16"}) {
    isa chosen = isa::avx2;
    const gqa::status s = resolve(avx512_machine(), {}, word, chosen);
    EXPECT_EQ(s.code, gqa::errc::invalid_argument) << word;
    EXPECT_STREQ(s.argument, "GQA_ISA") << word;
    EXPECT_NE(std::string(s.expected).find("portable, avx2, avx512 or neon"), std::string::npos) << s.message();
    EXPECT_EQ(chosen, isa::avx2) << "written in spite of the error";
  }
}

TEST(isa_choice, refuses_what_the_machine_lacks) {
  isa chosen = isa::portable;
  gqa::status s = resolve(avx2_machine(), isa::avx512, nullptr, chosen);
  EXPECT_EQ(s.code, gqa::errc::unsupported);
  EXPECT_STREQ(s.argument, "isa");
  EXPECT_EQ(s.value, 2);
  EXPECT_NE(std::string(s.expected).find("avx512f"), std::string::npos) << s.message();
  s = resolve(sse2_machine(), {}, "avx2", chosen);
  EXPECT_EQ(s.code, gqa::errc::unsupported);
  EXPECT_STREQ(s.argument, "GQA_ISA");
  EXPECT_EQ(s.value, 1);
  s = resolve(avx512_machine(), {}, "neon", chosen);
  EXPECT_EQ(s.code, gqa::errc::unsupported);
  EXPECT_STREQ(s.argument, "GQA_ISA");
  EXPECT_NE(std::string(s.expected).find("AArch64"), std::string::npos) << s.message();
  s = resolve(avx512_machine(), static_cast<isa>(7), nullptr, chosen);
  EXPECT_EQ(s.code, gqa::errc::unsupported);
  EXPECT_EQ(s.value, 7);
  EXPECT_EQ(chosen, isa::portable) << "written in spite of the error";
}

/// The process's own environment variable, put back afterwards.
class environment : public ::testing::Test {
 protected:
  environment() {
    if (const char* text = std::getenv("GQA_ISA")) {
      before_ = text;
      was_set_ = true;
    }
  }
  ~environment() override { was_set_ ? setenv("GQA_ISA", before_.c_str(), 1) : unsetenv("GQA_ISA"); }

 private:
  std::string before_;
  bool was_set_ = false;
};

TEST_F(environment, reaches_resolve_isa) {
  isa chosen{};
  unsetenv("GQA_ISA");
  ASSERT_TRUE(gqa::resolve_isa({}, chosen).ok());
  EXPECT_EQ(chosen, gqa::best_isa());
  setenv("GQA_ISA", "portable", 1);
  ASSERT_TRUE(gqa::resolve_isa({}, chosen).ok());
  EXPECT_EQ(chosen, isa::portable);
  ASSERT_TRUE(gqa::resolve_isa(gqa::best_isa(), chosen).ok());
  EXPECT_EQ(chosen, gqa::best_isa());
  setenv("GQA_ISA", "mmx", 1);
  EXPECT_EQ(gqa::resolve_isa({}, chosen).code, gqa::errc::invalid_argument);
  for (isa target : gqa::all_isas) {
    setenv("GQA_ISA", gqa::name(target), 1);
    EXPECT_EQ(gqa::resolve_isa({}, chosen).ok(), gqa::is_supported(target)) << gqa::name(target);
  }
}

}  // namespace
