// AVX-512: vec is 16 lanes in one register; vec8 (vec8_register.inl.hpp) half a register, of which there are 32 as
// well; two rows of a dot product share one (vec8_twice.inl.hpp). The maskz forms stand for the plain ones, whose
// undefined pass-through operand GCC 12 warns about.
typedef float vec __attribute__((vector_size(64)));
typedef std::int32_t ivec __attribute__((vector_size(64)));
inline constexpr int width = 16;
inline constexpr int row_tile = 12;  // rows x 2 vectors: 24 accumulators
inline constexpr int wide_rows = 6;  // x wide_vectors of values: 24 accumulators
inline constexpr int wide_vectors = 4;
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

#include "vec_bits.inl.hpp"

GQA_INLINE vec vzero() { return vec{}; }
GQA_INLINE vec vset(float x) { return _mm512_set1_ps(x); }
GQA_INLINE vec vload(const float* p) { return _mm512_loadu_ps(p); }
GQA_INLINE void vstore(float* p, vec x) { _mm512_storeu_ps(p, x); }
GQA_INLINE vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
GQA_INLINE vec vmax(vec a, vec b) { return _mm512_maskz_max_ps(every_lane, a, b); }  // b where either is NaN
GQA_INLINE vec vrint(vec x) {
  return _mm512_maskz_roundscale_ps(every_lane, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
GQA_INLINE ivec viset(std::int32_t x) { return (ivec)_mm512_set1_epi32(x); }
GQA_INLINE ivec vtoint(vec x) { return (ivec)_mm512_maskz_cvttps_epi32(every_lane, x); }
GQA_INLINE ivec vshift(ivec x) { return (ivec)_mm512_maskz_slli_epi32(every_lane, (__m512i)x, 23); }  // x << 23

// bf16 takes one shuffle a vector: `places` has in the upper half of each lane which 16 bits go there, and the mask
// leaves zeros in the lower.
inline constexpr std::int32_t upper_half = 1 << 16;

template <element E, int = 0>
GQA_INLINE vec widen(const char* p) {
  if constexpr (E == element::f32) return _mm512_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm512_maskz_cvtph_ps(every_lane, _mm256_loadu_si256((const __m256i*)p));
  if constexpr (E == element::bf16) {
    const ivec places = ivec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} * upper_half;
    const __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)p));
    return (vec)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, (__m512i)places, x);
  }
}

/// With a neighbour, the shuffle reads memory itself: an instruction less.
template <element E, neighbour N = neighbour::none>
GQA_INLINE vec8 widen8(const char* p) {
  if constexpr (E == element::f32) return _mm256_loadu_ps((const float*)p);
  if constexpr (E == element::f16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  if constexpr (E == element::bf16) {
    typedef std::int32_t ivec8 __attribute__((vector_size(32)));
    constexpr int before = N == neighbour::previous ? 8 : 0;
    const ivec8 places = (ivec8{0, 1, 2, 3, 4, 5, 6, 7} + before) * upper_half;
    const __m256i x = N == neighbour::none ? _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p))
                                           : _mm256_loadu_si256((const __m256i*)(p - before * size_of<E>));
    return (vec8)_mm256_maskz_permutexvar_epi16(0xaaaa, (__m256i)places, x);
  }
}

GQA_INLINE vec evens(vec a, vec b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
GQA_INLINE vec odds(vec a, vec b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
GQA_INLINE vec zip_low(vec a, vec b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
GQA_INLINE vec zip_high(vec a, vec b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

#include "vec8_twice.inl.hpp"
#include "vec_apart.inl.hpp"

GQA_INLINE rows_vec fma8(rows_vec a, rows_vec b, rows_vec c) { return vfma(a, b, c); }
GQA_INLINE rows_vec hold8(rows_vec x) {
  asm("" : "+v"(x));
  return x;
}
/// A key's 8 elements, twice. Processors of whole registers shuffle bf16 inside 128-bit lanes in one operation, across
/// them in two; those of halved registers do either in one, and the latter needs no broadcast.
template <element E, neighbour, bool Whole>
GQA_INLINE void widen_key(const char* k, rows_vec& x) {
  if constexpr (E == element::f32) {
    x = _mm512_maskz_broadcast_f32x8(every_lane, _mm256_loadu_ps((const float*)k));
  } else {
    const __m128i y = _mm_loadu_si128((const __m128i*)k);
    if constexpr (E == element::f16) {
      x = _mm512_maskz_cvtph_ps(every_lane, _mm256_broadcastsi128_si256(y));
    } else if constexpr (Whole) {
      // Bytes 2 i and 2 i + 1 into the upper half of lane i; 0x80 leaves zeros in the lower.
      const ivec places = ivec{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7} * 0x02020000 + 0x01008080;
      x = (vec)_mm512_maskz_shuffle_epi8(~std::uint64_t{0}, _mm512_maskz_broadcast_i32x4(every_lane, y),
                                         (__m512i)places);
    } else {
      const ivec places = ivec{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7} * upper_half;
      x = (vec)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, (__m512i)places, _mm512_castsi128_si512(y));
    }
  }
}
