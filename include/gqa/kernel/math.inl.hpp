// exp2 split into an integer and a fraction, tanh, and ln: the library's own, so that every target gives the same bits.

/// A rounded product that meets a sum: Clang under -ffast-math fuses the two whatever the pragmas say, unless it cannot
/// see them together. (In vectors vmax does the same service, or the product is by a power of two.)
GQA_INLINE double rounded(double x) {
#if defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

/// 2 * 2^f for |f| <= 1/2, relative error below 1.35 * 2^-24; exactly 2 at 0. Minimax polynomial of degree 6.
GQA_INLINE vec twice_exp2(vec f) {
  vec p = vset(0x1.41fbbcp-12f);
  p = vfma(p, f, vset(0x1.5f3e54p-9f));
  p = vfma(p, f, vset(0x1.3b2d4cp-6f));
  p = vfma(p, f, vset(0x1.c6aee8p-4f));
  p = vfma(p, f, vset(0x1.ebfbdcp-2f));
  p = vfma(p, f, vset(0x1.62e430p+0f));
  return vfma(p, f, vset(2.0f));
}

/// x * 2^k for 1/2 < x < 2 and an integral k <= 0, given 2 x; 0 for k <= -126, so that no result is subnormal. (The
/// factor 2^(k - 1) is +0 from there on.) NaN stays NaN.
GQA_INLINE vec scale_down(vec twice_x, vec k) {
  return twice_x * vfloat(vshift(vtoint(vmax(vset(-126.0f), k)) + viset(126)));
}

/// 2^k for an integral k <= 0; 0 for k <= -126.
GQA_INLINE float power_of_two(float k) { return scale_down(vset(2.0f), vset(k))[0]; }

inline constexpr float log2_e = 0x1.715476p+0f;  // log2(e) rounded to f32

/// t = s * log2(e) split into an integer n and a fraction f in [-1/2, 1/2].
struct exponent {
  vec n, f;
};
GQA_INLINE exponent split_exponent(vec s) {
  const vec t = vmax(vset(-__FLT_MAX__), s * vset(log2_e));
  const vec n = vrint(t);
  return {n, t - n};
}

/// tanh, relative error below 4 * 2^-24. Below 5/8 an odd polynomial, above 1 - 2 / (e^2x + 1).
GQA_INLINE vec tanh_of(vec x) {
  const ivec sign = viset(INT32_MIN);
  const vec a = vand(x, ~sign);
  const vec z = a * a;
  vec p = vset(-0x1.76ac0ep-8f);
  p = vfma(p, z, vset(0x1.5256d4p-6f));
  p = vfma(p, z, vset(-0x1.b84448p-5f));
  p = vfma(p, z, vset(0x1.110768p-3f));
  p = vfma(p, z, vset(-0x1.555534p-2f));
  const vec small = vfma(p * z, a, a);

  const vec t = vmax(vset(-46.0f), vset(2.0f * log2_e) * -a);  // 2^t = e^-2a; tanh is 1 from 9.02 on
  const vec n = vrint(t);
  const vec e = scale_down(twice_exp2(t - n), n);
  const vec large = (vset(1.0f) - e) / (vset(1.0f) + e);
  const ivec below = (ivec)(a < vset(0.625f));
  return vselect(sign, x, vselect(below, small, large));
}

/// ln(x) for a finite x > 0 that is normal, in double; error below 2^-45.
/// ln(m 2^e) = e ln 2 + 2 atanh((m - 1) / (m + 1)).
GQA_INLINE double ln_of(float x) {
  std::int32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  const std::int32_t e = (bits - 0x3f3504f3) >> 23;  // so that m lies in [1/sqrt 2, sqrt 2)
  bits -= e * (1 << 23);
  float m;
  __builtin_memcpy(&m, &bits, 4);
  const double z = ((double)m - 1.0) / ((double)m + 1.0);
  const double w = z * z;
  double p = 1.0 / 19.0;
  for (int k = 17; k >= 1; k -= 2) p = rounded(p * w) + 1.0 / (double)k;
  return rounded((double)e * 0x1.62e42fefa39efp-1) + 2.0 * (z * p);
}
