// Version, platform and the inline ABI namespace that every declaration lives in.
#pragma once

#define GQA_VERSION_MAJOR 0
#define GQA_VERSION_MINOR 1
#define GQA_VERSION_PATCH 0

#if !defined(__GNUC__)
#error "gqa needs GCC 12 or newer, or Clang 14 or newer"
#endif

#if defined(__x86_64__)
#define GQA_X86 1
#else
#define GQA_X86 0
#endif

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define GQA_EXCEPTIONS 1
#else
#define GQA_EXCEPTIONS 0
#endif

// The instruction set the user's own flags grant to all code. Computed once, before any region: newer compilers define
// __AVX2__ inside a target region as well.
#if defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512BW__) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define GQA_BASELINE_AVX512 1
#else
#define GQA_BASELINE_AVX512 0
#endif
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__BMI__) && defined(__BMI2__) && \
    defined(__LZCNT__)
#define GQA_BASELINE_AVX2 1
#else
#define GQA_BASELINE_AVX2 0
#endif

// Translation units built with different flags must not share inline functions: the linker would keep one copy for all,
// perhaps the one this machine cannot run. The namespace therefore names every flag that changes our object code, and a
// mix of them fails to link where types of the library cross the boundary.
#if GQA_BASELINE_AVX512
#define GQA_ABI_ISA avx512
#elif GQA_BASELINE_AVX2
#define GQA_ABI_ISA avx2
#elif defined(__AVX__)
#define GQA_ABI_ISA avx
#else
#define GQA_ABI_ISA base
#endif
#if defined(__FMA__)
#define GQA_ABI_FMA _fma
#else
#define GQA_ABI_FMA
#endif
#if GQA_EXCEPTIONS
#define GQA_ABI_EXCEPTIONS
#else
#define GQA_ABI_EXCEPTIONS _noexcept
#endif
#if defined(__FAST_MATH__)
#define GQA_ABI_MATH _fast
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#define GQA_ABI_MATH _finite
#else
#define GQA_ABI_MATH
#endif
#define GQA_ABI_JOIN_(isa, fma, exceptions, math) v0_##isa##fma##exceptions##math
#define GQA_ABI_JOIN(isa, fma, exceptions, math) GQA_ABI_JOIN_(isa, fma, exceptions, math)
#define GQA_ABI GQA_ABI_JOIN(GQA_ABI_ISA, GQA_ABI_FMA, GQA_ABI_EXCEPTIONS, GQA_ABI_MATH)

#define GQA_NAMESPACE_BEGIN \
  namespace gqa {           \
  inline namespace GQA_ABI {
#define GQA_NAMESPACE_END \
  }                       \
  }
