// Which targets this machine can run: the processor's features (cpuid) and the operating system's consent to save their
// registers (xgetbv); vendor and family are for processor.hpp. GQA_ISA=portable|avx2|avx512|neon overrides the default
// choice.
#pragma once

#include <cstdlib>
#include <cstring>
#include <optional>

#include "../base/status.hpp"
#include "target.hpp"

#if GQA_X86
#include <cpuid.h>
#endif

GQA_NAMESPACE_BEGIN

namespace detail {

enum class cpu_vendor : std::uint8_t { other, amd, intel };

/// What cpuid and xgetbv report, or that this is AArch64, where NEON is the baseline; a value, so that tests can ask
/// about machines that are not at hand.
struct cpu_features {
  std::uint32_t leaf1_eax = 0, leaf1_ecx = 0, leaf7_ebx = 0, leaf7_ecx = 0, extended_ecx = 0;
  std::uint64_t xcr0 = 0;
  cpu_vendor vendor = cpu_vendor::other;
  bool neon = false;
};

/// The vendor's name comes in three registers, four letters each.
[[nodiscard]] constexpr cpu_vendor vendor_of(std::uint32_t ebx, std::uint32_t edx, std::uint32_t ecx) noexcept {
  if (ebx == 0x68747541 && edx == 0x69746e65 && ecx == 0x444d4163) return cpu_vendor::amd;    // AuthenticAMD
  if (ebx == 0x756e6547 && edx == 0x49656e69 && ecx == 0x6c65746e) return cpu_vendor::intel;  // GenuineIntel
  return cpu_vendor::other;
}

[[nodiscard]] inline cpu_features read_cpu_features() noexcept {
  cpu_features f;
#if GQA_X86
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d)) f.vendor = vendor_of(b, d, c);
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    f.leaf1_eax = a;
    f.leaf1_ecx = c;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    f.leaf7_ebx = b;
    f.leaf7_ecx = c;
  }
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) f.extended_ecx = c;
  if (f.leaf1_ecx & (1u << 27)) {  // OSXSAVE: xgetbv may be executed
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    f.xcr0 = (std::uint64_t{high} << 32) | low;
  }
#elif defined(__aarch64__)
  f.neon = true;
#endif
  return f;
}

[[nodiscard]] constexpr bool has_all(std::uint64_t word, std::uint64_t bits) noexcept { return (word & bits) == bits; }

[[nodiscard]] constexpr bool supports(const cpu_features& f, isa target) noexcept {
  constexpr std::uint64_t ymm_state = 0x6, zmm_state = 0xe6;
  // fma, sse4.2, popcnt, osxsave, avx, f16c; bmi, avx2, bmi2; lzcnt
  const bool avx2 = has_all(f.leaf1_ecx, 1u << 12 | 1u << 20 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29) &&
                    has_all(f.leaf7_ebx, 1u << 3 | 1u << 5 | 1u << 8) && has_all(f.extended_ecx, 1u << 5) &&
                    has_all(f.xcr0, ymm_state);
  switch (target) {
    case isa::portable: return true;
    case isa::avx2: return avx2;
    case isa::avx512:  // f, dq, cd, bw, vl
      return avx2 && has_all(f.leaf7_ebx, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) &&
             has_all(f.xcr0, zmm_state);
    case isa::neon: return f.neon;
#if defined(GQA_EMULATED_TARGETS)
    case isa::emulated4:
    case isa::emulated8:
    case isa::emulated16: return true;
#endif
  }
  return false;
}

/// What a target asks of the machine, for the error where the machine lacks it.
[[nodiscard]] constexpr const char* needs(isa target) noexcept {
  switch (target) {
    case isa::avx2:
      return "a target that this machine runs; avx2 needs an x86-64 processor with sse4.2, popcnt, avx, avx2, bmi, "
             "bmi2, fma, f16c and lzcnt, and a system that saves ymm registers";
    case isa::avx512:
      return "a target that this machine runs; avx512 needs what avx2 needs, avx512f, cd, vl, dq and bw, and a "
             "system that saves zmm registers";
    case isa::neon: return "a target that this machine runs; neon needs an AArch64 processor";
    default: return "a target that this machine runs: portable, avx2, avx512 or neon";
  }
}

/// Errors: `word` (the environment's GQA_ISA) is no target's name; the target asked for is not in `features`.
[[nodiscard]] inline status resolve(const cpu_features& features, std::optional<isa> requested, const char* word,
                                    isa& chosen) noexcept {
  const bool from_environment = !requested && word && *word;
  if (from_environment) {
    for (isa target : all_isas)
      if (std::strcmp(word, name(target)) == 0) requested = target;
    if (!requested)
      return failure(errc::invalid_argument, "GQA_ISA", 0,
                     "portable, avx2, avx512 or neon; the environment holds another word");
  }
  if (requested && !supports(features, *requested))
    return failure(errc::unsupported, from_environment ? "GQA_ISA" : "isa", static_cast<std::int64_t>(*requested),
                   needs(*requested));
  if (!requested) {
    requested = isa::portable;
    for (isa target : all_isas)
      if (supports(features, target)) requested = target;
  }
  chosen = *requested;
  return {};
}

[[nodiscard]] inline const cpu_features& this_machine() noexcept {
  static const cpu_features features = read_cpu_features();
  return features;
}

}  // namespace detail

/// Whether kernels for `target` are compiled in and this machine can run them.
[[nodiscard]] inline bool is_supported(isa target) noexcept { return detail::supports(detail::this_machine(), target); }

[[nodiscard]] inline isa best_isa() noexcept {
  isa best = isa::portable;
  for (isa target : all_isas)
    if (is_supported(target)) best = target;
  return best;
}

/// The target a plan uses: `requested`, else GQA_ISA from the environment, else the best one.
/// Errors: an unknown name, or a target this machine lacks.
[[nodiscard]] inline status resolve_isa(std::optional<isa> requested, isa& chosen) noexcept {
  return detail::resolve(detail::this_machine(), requested, std::getenv("GQA_ISA"), chosen);
}

GQA_NAMESPACE_END
