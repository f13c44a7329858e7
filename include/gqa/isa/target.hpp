// The instruction sets a kernel is compiled for. A target is a cluster of features, never a single flag.
#pragma once

#include <cstdint>

#include "../base/config.hpp"

GQA_NAMESPACE_BEGIN

enum class isa : std::uint8_t {
  portable,  ///< the ABI's baseline, for correctness; fma is emulated exactly where the baseline has none
  avx2,      ///< sse4.2 popcnt avx avx2 bmi bmi2 fma f16c lzcnt
  avx512,    ///< avx2 + avx512f cd vl dq bw
  neon,      ///< every AArch64 processor
#if defined(GQA_EMULATED_TARGETS)
  // The library's own tests: the shapes of NEON, AVX2 and AVX-512 without their instructions, on every machine.
  emulated4,
  emulated8,
  emulated16,
#endif
};

inline constexpr isa all_isas[] = {isa::portable, isa::avx2, isa::avx512, isa::neon};

[[nodiscard]] constexpr const char* name(isa target) noexcept {
  switch (target) {
    case isa::portable: return "portable";
    case isa::avx2: return "avx2";
    case isa::avx512: return "avx512";
    case isa::neon: return "neon";
#if defined(GQA_EMULATED_TARGETS)
    case isa::emulated4: return "emulated4";
    case isa::emulated8: return "emulated8";
    case isa::emulated16: return "emulated16";
#endif
  }
  return "unknown";
}

GQA_NAMESPACE_END
