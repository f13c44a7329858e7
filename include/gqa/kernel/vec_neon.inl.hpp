// AArch64's NEON: vec is 4 lanes in one of 32 registers, vec8 two of them.
typedef float vec __attribute__((vector_size(16)));
typedef std::int32_t ivec __attribute__((vector_size(16)));
inline constexpr int width = 4;
inline constexpr int row_tile = 6;   // rows x 4 vectors: 24 accumulators
inline constexpr int wide_rows = 0;  // x wide_vectors of values: none
inline constexpr int wide_vectors = 0;
inline constexpr int score_rows = 6;          // rows of a panel product's register tile
inline constexpr int panel_registers = 24;    // accumulators it may have
inline constexpr int widened_registers = 24;  // the same where keys are widened first
inline constexpr dot_tiling dot_rows = {4, 4};
inline constexpr int dot_keys = 2;  // keys side by side
inline constexpr int dot_sums = 8;  // as far as their sums have registers
inline constexpr int unpacked_rows = 8;
inline constexpr memory_traits memory = {};

#include "vec_bits.inl.hpp"

GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) { return vdupq_n_f32(x); }
GQA_INLINE vec vload(const float* p) { return vld1q_f32(p); }
GQA_INLINE void vstore(float* p, vec x) { vst1q_f32(p, x); }
GQA_INLINE vec vfma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
GQA_INLINE vec vmax(vec a, vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // b where either is NaN, unlike fmax
GQA_INLINE vec vrint(vec x) { return vrndnq_f32(x); }
GQA_INLINE ivec viset(std::int32_t x) { return vdupq_n_s32(x); }
GQA_INLINE ivec vtoint(vec x) { return vcvtq_s32_f32(x); }
GQA_INLINE ivec vshift(ivec x) { return vshlq_n_s32(x, 23); }

template <element E, int = 0>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) return vld1q_f32((const float*)p);
  if constexpr (E == element::f16) return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const std::uint16_t*)p)));
  if constexpr (E == element::bf16) return (vec)vshll_n_u16(vld1_u16((const std::uint16_t*)p), 16);
}

GQA_INLINE vec add_pairs(vec a, vec b) { return vpaddq_f32(a, b); }

#include "vec8_pair.inl.hpp"
#include "vec_in_order.inl.hpp"
