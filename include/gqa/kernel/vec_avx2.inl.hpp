// AVX2: vec is 8 lanes in one register, and so is vec8 (vec8_register.inl.hpp).
typedef float vec __attribute__((vector_size(32)));
typedef std::int32_t ivec __attribute__((vector_size(32)));
typedef vec8 rows_vec;  // of a dot product
inline constexpr int rows_in_vec = 1;
inline constexpr int width = 8;      // lanes of vec
inline constexpr int row_tile = 6;   // rows x 2 vectors: 12 accumulators
inline constexpr int wide_rows = 4;  // x wide_vectors of values: 12 accumulators
inline constexpr int wide_vectors = 3;
inline constexpr int score_rows = 6;          // rows of a panel product's register tile
inline constexpr int panel_registers = 16;    // accumulators it may have: one in memory costs less than half the lanes
inline constexpr int widened_registers = 12;  // the same where keys are widened first
inline constexpr dot_tiling dot_rows = {6, 6};
inline constexpr int dot_keys = 2;        // keys side by side
inline constexpr int dot_sums = 12;       // as far as their sums have registers
inline constexpr int unpacked_rows = 48;  // measured: a tie at 48 rows
inline constexpr memory_traits memory = {};

#include "vec_bits.inl.hpp"

GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) { return _mm256_set1_ps(x); }
GQA_INLINE vec vload(const float* p) { return _mm256_loadu_ps(p); }
GQA_INLINE void vstore(float* p, vec x) { _mm256_storeu_ps(p, x); }
GQA_INLINE vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
GQA_INLINE vec vmax(vec a, vec b) { return _mm256_max_ps(a, b); }  // b where either is NaN
GQA_INLINE vec vrint(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
GQA_INLINE ivec viset(std::int32_t x) { return (ivec)_mm256_set1_epi32(x); }
GQA_INLINE ivec vtoint(vec x) { return (ivec)_mm256_cvttps_epi32(x); }
GQA_INLINE ivec vshift(ivec x) { return (ivec)_mm256_slli_epi32((__m256i)x, 23); }  // x << 23

// Bytes that shift bf16 into place: of 8 elements in both halves of a register, the lower half takes the first 4.
alignas(32) inline constexpr std::int32_t upper_halves[8] = {0x0100ffff, 0x0302ffff, 0x0504ffff, 0x0706ffff,
                                                             0x0908ffff, 0x0b0affff, 0x0d0cffff, 0x0f0effff};

/// Beside so many busy registers: where none is left for a constant, GCC would rather keep it there and put a sum into
/// memory.
template <element E, int Busy = 0>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) return _mm256_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  if constexpr (E == element::bf16) {  // one operation a load
    const __m256i* places = (const __m256i*)upper_halves;
    __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
    if constexpr (Busy >= 16) asm("vpshufb {%1, %0, %0|%0, %0, %1}" : "+x"(x) : "m"(*places));
    else x = _mm256_shuffle_epi8(x, *places);
    return (vec)x;
  }
}
template <element E, neighbour = neighbour::none>
GQA_INLINE vec8 widen8(const char* p) {
  return widen<E>(p);
}

GQA_INLINE vec evens(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
GQA_INLINE vec odds(vec a, vec b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
GQA_INLINE vec zip_low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
GQA_INLINE vec zip_high(vec a, vec b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }

#include "vec_apart.inl.hpp"
