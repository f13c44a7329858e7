// AVX2: vec is 8 lanes in one register, and so is vec8 (vec8_register.inl.hpp).
typedef float vec __attribute__((vector_size(32)));
typedef std::int32_t ivec __attribute__((vector_size(32)));
typedef vec8 rows_vec;  // of a dot product
inline constexpr int rows_in_vec = 1;
inline constexpr int width = 8;               // lanes of vec
inline constexpr int row_tile = 6;            // rows x 2 vectors: 12 accumulators
inline constexpr int rows_of_three = 4;       // rows x 3 vectors of values: 12 accumulators
inline constexpr int score_rows = 6;          // rows of a panel product's register tile
inline constexpr int panel_registers = 16;    // accumulators it may have: one in memory costs less than half the lanes
inline constexpr int widened_registers = 12;  // the same where keys are widened first
inline constexpr dot_tiling dot_rows = {6, 6};
inline constexpr int dot_keys = 2;        // keys side by side
inline constexpr int dot_sums = 12;       // as far as their sums have registers
inline constexpr int unpacked_rows = 48;  // measured: a tie at 48 rows
inline constexpr memory_traits memory = {};

GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) { return _mm256_set1_ps(x); }
GQA_INLINE vec vload(const float* p) { return _mm256_loadu_ps(p); }
GQA_INLINE void vstore(float* p, vec x) { _mm256_storeu_ps(p, x); }
GQA_INLINE vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
GQA_INLINE vec vmax(vec a, vec b) { return _mm256_max_ps(a, b); }  // b where either is NaN
GQA_INLINE float highest_lane(vec x) { return highest_lane8(x); }
GQA_INLINE vec vrint(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
GQA_INLINE ivec vbits(vec x) { return (ivec)x; }
GQA_INLINE vec vfloat(ivec x) { return (vec)x; }
GQA_INLINE ivec viset(std::int32_t x) { return (ivec)_mm256_set1_epi32(x); }
GQA_INLINE ivec vtoint(vec x) { return (ivec)_mm256_cvttps_epi32(x); }
GQA_INLINE ivec vshift(ivec x) { return (ivec)_mm256_slli_epi32((__m256i)x, 23); }  // x << 23
GQA_INLINE vec vand(vec x, ivec mask) { return (vec)(vbits(x) & mask); }

template <element E, neighbour = neighbour::none>
GQA_INLINE vec8 widen8(const char* p) {
  if constexpr (E == element::f32) return _mm256_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  if constexpr (E == element::bf16) {  // both halves get all 8, and each shifts its 4 into place: one operation a load
    const __m256i high = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                          -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    return (vec8)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p)), high);
  }
}
template <element E>
GQA_INLINE vec widen(const char* p) {
  return widen8<E>(p);
}

#include "vec_in_order.inl.hpp"
