// What a processor does fast on a target; never a bit of any result. Measured on AMD's family 25 (Zen 3 with AVX2, Zen
// 4 with AVX2 and AVX-512) and Intel's family 6, model 207; processors of other vendors are treated as AMD's.
#pragma once

#include <cstdint>

#include "detect.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

struct processor_traits {
  /// A register takes as long as two halves, one by one.
  bool halves_registers = false;
  /// Prefetching memory pages early pays (plan/page_prefetch.hpp).
  bool prefetches_pages = true;
  /// How far on prefetches of keys, and of values that take longer to read than to weigh, go in the order of use, but
  /// never fewer visits than two: of several heads; of one, half as far unless it is by pages, but never fewer than
  /// one.
  std::int64_t bytes_ahead = 32 * 1024;
  /// A single row of interleaved heads gains by prefetching; otherwise the hardware's own prefetchers follow it best.
  bool asks_for_heads = false;
  /// So do f32 keys and all values of one head alone; its 16-bit keys gain everywhere.
  bool asks_for_one_head = false;
  /// Keys in tiles that are read in order come by themselves from the first line of a memory page on.
  bool follows_tiles = true;
  /// Interleaved heads are prefetched in the order of memory, which is answered sooner than the order of use.
  bool memory_order = true;
  /// Where reading binds, keys are best scored in turn (plan/reading_order.hpp).
  bool in_turn = true;
  /// Up to so many rows, where reading binds, prefetch what several heads, or parts, bring into the first level of
  /// cache, not the second.
  std::int64_t first_level_rows = 0;
  /// Memory pages side by side are answered sooner than one after the other: few rows prefetch what comes next in parts
  /// (plan/reading_order.hpp).
  bool by_parts = false;

  [[nodiscard]] bool operator==(const processor_traits&) const noexcept = default;
};

/// The family: the base family and, where that is 15, the extended one on top (AMD64 Architecture Programmer's Manual,
/// volume 3, CPUID Fn0000_0001).
[[nodiscard]] constexpr std::uint32_t family_of(const cpu_features& f) noexcept {
  const std::uint32_t base = f.leaf1_eax >> 8 & 0xf;
  return base == 15 ? base + (f.leaf1_eax >> 20 & 0xff) : base;
}

/// Whether a target's registers have 512 bits.
[[nodiscard]] constexpr bool has_wide_registers(isa target) noexcept {
#if defined(GQA_EMULATED_TARGETS)
  if (target == isa::emulated16) return true;
#endif
  return target == isa::avx512;
}

/// Zen 4 works on 512 bits in halves: Software Optimization Guide for the AMD Zen4 Microarchitecture, section 2.11.
[[nodiscard]] constexpr processor_traits traits_of(const cpu_features& f, isa target) noexcept {
  processor_traits t;
  t.asks_for_heads = has_wide_registers(target);
  t.halves_registers = has_wide_registers(target) && f.vendor == cpu_vendor::amd && family_of(f) == 25;
  if (f.vendor == cpu_vendor::intel) {
    t.prefetches_pages = false;
    t.bytes_ahead = 0;
    t.asks_for_heads = t.asks_for_one_head = true;
    t.follows_tiles = false;
    t.memory_order = t.in_turn = !has_wide_registers(target);
    t.first_level_rows = has_wide_registers(target) ? 4 : 1;
    t.by_parts = true;
  }
  return t;
}

}  // namespace detail

GQA_NAMESPACE_END
