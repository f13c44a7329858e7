// Picks a target's table at run time.
#pragma once

#include "regions.hpp"

GQA_NAMESPACE_BEGIN

template <element Q, element K, element V, element Out>
const kernel_table* kernels_for(isa target) noexcept {
  switch (target) {
#if GQA_X86
    case isa::avx2: return &avx2::table<Q, K, V, Out>;
    case isa::avx512: return &avx512::table<Q, K, V, Out>;
#endif
#if defined(__aarch64__)
    case isa::neon: return &neon::table<Q, K, V, Out>;
#endif
#if defined(GQA_EMULATED_TARGETS)
    case isa::emulated4: return &emulated4::table<Q, K, V, Out>;
    case isa::emulated8: return &emulated8::table<Q, K, V, Out>;
    case isa::emulated16: return &emulated16::table<Q, K, V, Out>;
#endif
    default: return &portable::table<Q, K, V, Out>;
  }
}

GQA_NAMESPACE_END
