// Operations that plain vector types have at any width: maximum, rounding, conversion. For targets without
// instructions of their own for them (portable, emulated); vec, ivec and viset are theirs.
#include "vec_bits.inl.hpp"

GQA_INLINE vec vmax(vec a, vec b) { return vselect((ivec)(a > b), a, b); }  // b where either is NaN
GQA_INLINE vec vrint(vec x) {
  const ivec sign = viset(INT32_MIN);
  const vec magnitude = vand(x, ~sign);
  const vec rounded = (magnitude + 0x1p23f) - 0x1p23f;
  return vselect(sign, x, vselect((ivec)(magnitude < 0x1p23f), rounded, magnitude));
}
GQA_INLINE ivec vtoint(vec x) { return __builtin_convertvector(x, ivec); }
GQA_INLINE ivec vshift(ivec x) { return x << 23; }
