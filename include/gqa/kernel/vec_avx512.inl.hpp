// AVX-512: vec is 16 lanes in one register; vec8 (vec8_register.inl.hpp) half a register, of which there are 32 as
// well; two rows of a dot product share one (vec8_twice.inl.hpp). The maskz forms stand for the plain ones, whose
// undefined pass-through operand GCC 12 warns about.
typedef float vec __attribute__((vector_size(64)));
typedef std::int32_t ivec __attribute__((vector_size(64)));
inline constexpr int width = 16;
inline constexpr int row_tile = 12;           // rows x 2 vectors: 24 accumulators
inline constexpr int score_rows = 6;          // rows of a panel product's register tile, unless all lanes have room
inline constexpr int panel_registers = 32;    // accumulators it may have: one in memory costs less than half the lanes
inline constexpr int widened_registers = 32;  // the same where keys are widened first
inline constexpr int rows_in_vec = 2;
inline constexpr dot_tiling dot_rows = {8, 8};
inline constexpr int dot_keys = 4;        // keys side by side
inline constexpr int dot_sums = 24;       // as far as their sums have registers
inline constexpr int unpacked_rows = 64;  // measured: a tie at 64 rows
inline constexpr memory_traits memory = {.largest_token = 32 * 1024, .beside_rows = 4};
inline constexpr __mmask16 every_lane = 0xffff;

GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) { return _mm512_set1_ps(x); }
GQA_INLINE vec vload(const float* p) { return _mm512_loadu_ps(p); }
GQA_INLINE void vstore(float* p, vec x) { _mm512_storeu_ps(p, x); }
GQA_INLINE vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
GQA_INLINE vec vmax(vec a, vec b) { return _mm512_maskz_max_ps(every_lane, a, b); }  // b where either is NaN
GQA_INLINE float highest_lane(vec x) {
  return highest_lane8(_mm256_max_ps(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7),
                                     __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15)));
}
GQA_INLINE vec vrint(vec x) {
  return _mm512_maskz_roundscale_ps(every_lane, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
GQA_INLINE ivec vbits(vec x) { return (ivec)x; }
GQA_INLINE vec vfloat(ivec x) { return (vec)x; }
GQA_INLINE ivec viset(std::int32_t x) { return (ivec)_mm512_set1_epi32(x); }
GQA_INLINE ivec vtoint(vec x) { return (ivec)_mm512_maskz_cvttps_epi32(every_lane, x); }
GQA_INLINE ivec vshift(ivec x) { return (ivec)_mm512_maskz_slli_epi32(every_lane, (__m512i)x, 23); }  // x << 23
GQA_INLINE vec vand(vec x, ivec mask) { return (vec)(vbits(x) & mask); }

template <element E>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) return _mm512_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm512_maskz_cvtph_ps(every_lane, _mm256_loadu_si256((const __m256i*)p));
  if constexpr (E == element::bf16) {  // 16 bits to the upper half of each lane, zeros to the lower: one operation
    const __m512i upper = _mm512_setr_epi32(0, 1 << 16, 2 << 16, 3 << 16, 4 << 16, 5 << 16, 6 << 16, 7 << 16, 8 << 16,
                                            9 << 16, 10 << 16, 11 << 16, 12 << 16, 13 << 16, 14 << 16, 15 << 16);
    const __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)p));
    return (vec)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, upper, x);
  }
}

#include "vec8_twice.inl.hpp"

GQA_INLINE rows_vec fma8(rows_vec a, rows_vec b, rows_vec c) { return vfma(a, b, c); }
GQA_INLINE rows_vec hold8(rows_vec x) {
  asm("" : "+v"(x));
  return x;
}
template <element E>
GQA_INLINE void widen_key(const char* k, rows_vec& x) {
  if constexpr (E == element::f32) {
    x = _mm512_maskz_broadcast_f32x8(every_lane, _mm256_loadu_ps((const float*)k));
  } else {
    const __m128i y = _mm_loadu_si128((const __m128i*)k);
    if constexpr (E == element::f16) {
      x = _mm512_maskz_cvtph_ps(every_lane, _mm256_broadcastsi128_si256(y));
    } else {  // as widen8 does it: each quarter gets all 8, and shifts its 4 into place
      const __m512i high = _mm512_maskz_broadcast_i64x4(
          0xff, _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                 -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15));
      x = (vec)_mm512_maskz_shuffle_epi8(~__mmask64{0}, _mm512_maskz_broadcast_i32x4(every_lane, y), high);
    }
  }
}
