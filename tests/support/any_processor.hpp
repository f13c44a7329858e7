// Plans of a test take the traits of whatever processor it names (isa/processor.hpp), so that what they decide by is
// tested on every machine. Included before any header of the library.
#pragma once

#include <gqa/isa/processor.hpp>

namespace gqa_test {

inline const gqa::detail::cpu_features* processor = nullptr;  // this machine's where nobody is named

inline gqa::detail::processor_traits traits_in_use(gqa::isa target) noexcept {
  return gqa::detail::traits_of(processor ? *processor : gqa::detail::this_machine(), target);
}

// What the leaves report: AMD's family 25 is 15 and an extended 10, 26 an extended 11; model 207 is Intel's family 6.
inline constexpr gqa::detail::cpu_features zen3{.leaf1_eax = 0x00a20f10, .vendor = gqa::detail::cpu_vendor::amd};
inline constexpr gqa::detail::cpu_features zen4{.leaf1_eax = 0x00a10f11, .vendor = gqa::detail::cpu_vendor::amd};
inline constexpr gqa::detail::cpu_features zen5{.leaf1_eax = 0x00b00f21, .vendor = gqa::detail::cpu_vendor::amd};
inline constexpr gqa::detail::cpu_features xeon{.leaf1_eax = 0x000c06f2, .vendor = gqa::detail::cpu_vendor::intel};

}  // namespace gqa_test

#define GQA_PROCESSOR_TRAITS(target) gqa_test::traits_in_use(target)
