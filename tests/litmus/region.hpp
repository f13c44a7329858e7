// The mechanism that the kernels rest on, in miniature: text compiled for a target whatever the flags of the
// translation unit. LITMUS_OPEN(features) ... LITMUS_CLOSE at file scope, or LITMUS_OPEN_BASELINE ...
// LITMUS_CLOSE_BASELINE; LITMUS_OPEN_AVX2 and LITMUS_OPEN_AVX512 push only what the flags do not grant. Inside,
// floating point is precise: no reassociation, no contraction, whatever -ffast-math says outside.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define LITMUS_PRAGMA(text) _Pragma(#text)
#define LITMUS_AVX2 "sse4.2,popcnt,avx,avx2,bmi,bmi2,fma,f16c,lzcnt"
#define LITMUS_AVX512 LITMUS_AVX2 ",avx512f,avx512cd,avx512vl,avx512dq,avx512bw"

#if defined(__clang__)
#define LITMUS_OPEN(features)                                                                 \
  LITMUS_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function)) \
  LITMUS_PRAGMA(float_control(precise, on, push)) LITMUS_PRAGMA(clang fp contract(off))
#define LITMUS_CLOSE LITMUS_PRAGMA(float_control(pop)) LITMUS_PRAGMA(clang attribute pop)
#define LITMUS_OPEN_BASELINE LITMUS_PRAGMA(float_control(precise, on, push)) LITMUS_PRAGMA(clang fp contract(off))
#define LITMUS_CLOSE_BASELINE LITMUS_PRAGMA(float_control(pop))
#else
#define LITMUS_OPEN(features)     \
  LITMUS_PRAGMA(GCC push_options) \
  LITMUS_PRAGMA(GCC target(features)) LITMUS_PRAGMA(GCC optimize("no-fast-math,fp-contract=off"))
#define LITMUS_CLOSE LITMUS_PRAGMA(GCC pop_options)
#define LITMUS_OPEN_BASELINE LITMUS_PRAGMA(GCC push_options) LITMUS_PRAGMA(GCC optimize("no-fast-math,fp-contract=off"))
#define LITMUS_CLOSE_BASELINE LITMUS_PRAGMA(GCC pop_options)
#endif

#define LITMUS_INLINE inline __attribute__((always_inline))
#define LITMUS_ENTRY __attribute__((noinline))

// Baselines are asked for once, before any region: newer compilers define __AVX2__ inside one.
#if defined(__AVX2__) && defined(__FMA__) && defined(__BMI2__) && defined(__LZCNT__) && defined(__F16C__)
#define LITMUS_HAS_AVX2 1
#else
#define LITMUS_HAS_AVX2 0
#endif
#if LITMUS_HAS_AVX2 && defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512BW__) && defined(__AVX512CD__)
#define LITMUS_HAS_AVX512 1
#else
#define LITMUS_HAS_AVX512 0
#endif

#if LITMUS_HAS_AVX2
#define LITMUS_OPEN_AVX2 LITMUS_OPEN_BASELINE
#define LITMUS_CLOSE_AVX2 LITMUS_CLOSE_BASELINE
#else
#define LITMUS_OPEN_AVX2 LITMUS_OPEN(LITMUS_AVX2)
#define LITMUS_CLOSE_AVX2 LITMUS_CLOSE
#endif
#if LITMUS_HAS_AVX512
#define LITMUS_OPEN_AVX512 LITMUS_OPEN_BASELINE
#define LITMUS_CLOSE_AVX512 LITMUS_CLOSE_BASELINE
#else
#define LITMUS_OPEN_AVX512 LITMUS_OPEN(LITMUS_AVX512)
#define LITMUS_CLOSE_AVX512 LITMUS_CLOSE
#endif

/// The caller's value as the optimiser must take it: unknown.
template <class T>
inline T opaque(T x) {
  __asm__ volatile("" : "+m"(x));
  return x;
}

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// Prints and counts what does not hold; main returns the count.
inline int failures = 0;
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("does not hold: %s\n", what);
  ++failures;
}
