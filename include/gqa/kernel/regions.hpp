// Compiles the kernel text once for each target, whatever flags the translation unit has.
//
// A region switches the target's instructions on and the user's float flags off: -ffast-math would reassociate sums and
// replace divisions. Everything the text needs is included before the first region opens; a vector wider than the
// baseline's never crosses a call that is not inlined; entry points take pointers and numbers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../base/convert.hpp"
#include "../isa/target.hpp"
#include "table.hpp"

#if GQA_X86
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define GQA_INLINE static inline __attribute__((always_inline))
#define GQA_ENTRY __attribute__((noinline)) inline
#define GQA_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define GQA_UNROLL_FULLY(n) GQA_PRAGMA(clang loop unroll(full))
#if defined(__aarch64__) && __clang_major__ < 15
// This compiler knows float_control on x86 only: -ffast-math could not be switched off.
#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__
#error "gqa on AArch64 needs Clang 15 or newer, or GCC, where -ffast-math or -ffinite-math-only is on"
#endif
#define GQA_FLOAT_BEGIN _Pragma("STDC FP_CONTRACT OFF")
#define GQA_FLOAT_END _Pragma("STDC FP_CONTRACT DEFAULT")
#else
#define GQA_FLOAT_BEGIN \
  _Pragma("float_control(push)") _Pragma("float_control(precise, on)") _Pragma("clang fp contract(off)")
#define GQA_FLOAT_END _Pragma("float_control(pop)")
#endif
#define GQA_TARGET_BEGIN(features) \
  GQA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define GQA_TARGET_END _Pragma("clang attribute pop")
#else
#define GQA_UNROLL_FULLY(n) GQA_PRAGMA(GCC unroll n)
#define GQA_FLOAT_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"no-fast-math,fp-contract=off\")")
#define GQA_FLOAT_END _Pragma("GCC pop_options")
#define GQA_TARGET_BEGIN(features) _Pragma("GCC push_options") GQA_PRAGMA(GCC target(features))
#define GQA_TARGET_END _Pragma("GCC pop_options")
#endif

GQA_FLOAT_BEGIN

// ---- portable -----------------------------------------------------------------------------------------------------
#define GQA_REGION_VEC "vec_portable.inl.hpp"
#define GQA_UNROLL(n)  // correct, not fast: its fused multiply-add is a call on most machines, so that unrolled loops
                       // would only take time to compile
GQA_NAMESPACE_BEGIN
namespace portable {
inline constexpr isa region_isa = isa::portable;
#include "kernels.inl.hpp"
}  // namespace portable
GQA_NAMESPACE_END
#undef GQA_REGION_VEC
#undef GQA_UNROLL
#define GQA_UNROLL(n) GQA_UNROLL_FULLY(n)

#if GQA_X86
#define GQA_REGION_VEC8_REGISTER

// ---- AVX2 ---------------------------------------------------------------------------------------------------------
#if !GQA_BASELINE_AVX2
GQA_TARGET_BEGIN("sse4.2,popcnt,avx,avx2,bmi,bmi2,fma,f16c,lzcnt")
#endif
#define GQA_REGION_VEC "vec_avx2.inl.hpp"
GQA_NAMESPACE_BEGIN
namespace avx2 {
inline constexpr isa region_isa = isa::avx2;
#include "kernels.inl.hpp"
}  // namespace avx2
GQA_NAMESPACE_END
#undef GQA_REGION_VEC
#if !GQA_BASELINE_AVX2
GQA_TARGET_END
#endif

// ---- AVX-512 ------------------------------------------------------------------------------------------------------
#if !GQA_BASELINE_AVX512
GQA_TARGET_BEGIN("sse4.2,popcnt,avx,avx2,bmi,bmi2,fma,f16c,lzcnt,avx512f,avx512cd,avx512vl,avx512dq,avx512bw")
#endif
#define GQA_REGION_VEC "vec_avx512.inl.hpp"
GQA_NAMESPACE_BEGIN
namespace avx512 {
inline constexpr isa region_isa = isa::avx512;
#include "kernels.inl.hpp"
}  // namespace avx512
GQA_NAMESPACE_END
#undef GQA_REGION_VEC
#if !GQA_BASELINE_AVX512
GQA_TARGET_END
#endif

#undef GQA_REGION_VEC8_REGISTER
#endif  // GQA_X86

#if defined(__aarch64__)
// ---- NEON ---------------------------------------------------------------------------------------------------------
#define GQA_REGION_VEC "vec_neon.inl.hpp"
GQA_NAMESPACE_BEGIN
namespace neon {
inline constexpr isa region_isa = isa::neon;
#include "kernels.inl.hpp"
}  // namespace neon
GQA_NAMESPACE_END
#undef GQA_REGION_VEC
#endif

#if defined(GQA_EMULATED_TARGETS)
// ---- tests only: the shapes of NEON, AVX2 and AVX-512 without their instructions ----------------------------------
// Compile with -Wno-psabi: vectors wider than the baseline's warn, though none crosses a call.
#define GQA_REGION_VEC "vec_emulated.inl.hpp"
GQA_NAMESPACE_BEGIN
namespace emulated4 {
inline constexpr isa region_isa = isa::emulated4;
inline constexpr dot_tiling dot_rows = {4, 4};
inline constexpr memory_traits memory = {};
inline constexpr int width = 4, row_tile = 6, wide_rows = 0, wide_vectors = 0, dot_keys = 2, dot_sums = 8,
                     unpacked_rows = 8, score_rows = 6, panel_registers = 24, widened_registers = 24;
#include "kernels.inl.hpp"
}  // namespace emulated4
namespace emulated8 {
inline constexpr isa region_isa = isa::emulated8;
inline constexpr dot_tiling dot_rows = {6, 6};
inline constexpr memory_traits memory = {};
inline constexpr int width = 8, row_tile = 6, wide_rows = 4, wide_vectors = 3, dot_keys = 2, dot_sums = 12,
                     unpacked_rows = 48, score_rows = 6, panel_registers = 16, widened_registers = 12;
#include "kernels.inl.hpp"
}  // namespace emulated8
namespace emulated16 {
inline constexpr isa region_isa = isa::emulated16;
inline constexpr dot_tiling dot_rows = {8, 8};
inline constexpr memory_traits memory = {.largest_token = 32 * 1024, .beside_rows = 4};
inline constexpr int width = 16, row_tile = 12, wide_rows = 6, wide_vectors = 4, dot_keys = 4, dot_sums = 24,
                     unpacked_rows = 64, score_rows = 6, panel_registers = 32, widened_registers = 32;
#include "kernels.inl.hpp"
}  // namespace emulated16
GQA_NAMESPACE_END
#undef GQA_REGION_VEC
#endif

GQA_FLOAT_END
