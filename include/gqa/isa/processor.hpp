// How processors that run the same target differ: in what they do fast, never in a bit. Measured on AMD's family 25
// (Zen 3 and Zen 4) and Intel's family 6, model 207; the defaults are Zen 3's.
#pragma once

#include <cstdint>

#include "detect.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

struct processor_traits {
  /// One of the target's registers takes as long as two halves, one by one.
  bool halves_registers = false;
  /// Prefetching memory pages early pays (plan/page_prefetch.hpp).
  bool pages = true;
  /// How far on to prefetch, at least, where that goes in the order of use: of several heads; of one, half as far.
  std::int64_t bytes_ahead = 32 * 1024;
  /// A single row gains by prefetching, of interleaved heads, and of one head alone: otherwise the hardware's own
  /// prefetchers follow it best.
  bool asks_for_heads = false, asks_for_one_head = false;
};

/// The family: the base family and, where that is 15, the extended one on top (AMD64 Architecture Programmer's Manual,
/// volume 3, CPUID Fn0000_0001).
[[nodiscard]] constexpr std::uint32_t family_of(const cpu_features& f) noexcept {
  const std::uint32_t base = f.leaf1_eax >> 8 & 0xf;
  return base == 15 ? base + (f.leaf1_eax >> 20 & 0xff) : base;
}

/// Zen 4 works on 512 bits in halves: Software Optimization Guide for the AMD Zen4 Microarchitecture, section 2.11.
[[nodiscard]] constexpr processor_traits traits_of(const cpu_features& f, isa target) noexcept {
  const bool amd = f.vendor == cpu_vendor::amd, intel = f.vendor == cpu_vendor::intel, wide = target == isa::avx512;
  processor_traits t;
  t.halves_registers = wide && amd && family_of(f) == 25;
  t.pages = !intel;
  t.bytes_ahead = intel ? 0 : t.bytes_ahead;
  t.asks_for_heads = wide || intel;
  t.asks_for_one_head = intel;
  return t;
}

}  // namespace detail

GQA_NAMESPACE_END
