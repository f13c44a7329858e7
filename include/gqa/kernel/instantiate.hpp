// For programs of many source files: the kernels take most of the time that one of them compiles. With
// GQA_EXTERN_KERNELS defined in all files they are left out, and one file includes this header, which compiles them for
// every combination of element types. It needs the flags of the others: those for instruction sets, floats and
// exceptions are part of every name (base/config.hpp), so that a mix does not link. A shared library needs its own.
#pragma once

#include "kernels_for.hpp"

GQA_NAMESPACE_BEGIN

#define GQA_FOR_OUT(Q, K, V)                                                     \
  template const kernel_table* kernels_for<Q, K, V, element::f32>(isa) noexcept; \
  template const kernel_table* kernels_for<Q, K, V, element::f16>(isa) noexcept; \
  template const kernel_table* kernels_for<Q, K, V, element::bf16>(isa) noexcept;
#define GQA_FOR_V(Q, K)           \
  GQA_FOR_OUT(Q, K, element::f32) \
  GQA_FOR_OUT(Q, K, element::f16) \
  GQA_FOR_OUT(Q, K, element::bf16)
#define GQA_FOR_K(Q)         \
  GQA_FOR_V(Q, element::f32) \
  GQA_FOR_V(Q, element::f16) \
  GQA_FOR_V(Q, element::bf16)

GQA_FOR_K(element::f32)
GQA_FOR_K(element::f16)
GQA_FOR_K(element::bf16)

#undef GQA_FOR_OUT
#undef GQA_FOR_V
#undef GQA_FOR_K

GQA_NAMESPACE_END
