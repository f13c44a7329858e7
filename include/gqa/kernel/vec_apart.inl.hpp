// Two vectors of elements, each in any order that widens well, the same for all rows; sums of them are taken apart into
// that order and put together again. Of bf16 they are the even ones and the odd ones: a shift and a mask take what room
// shuffles and multiplications leave. The target has evens, odds, zip_low and zip_high.
template <element E>
GQA_INLINE void widen_apart(const char* p, vec& first, vec& second) {
  if constexpr (E == element::bf16) {
    const vec x = vload((const float*)p);
    first = (vec)(vbits(x) << 16);
    second = vand(x, viset((std::int32_t)0xffff0000));
  } else {
    first = widen<E>(p);
    second = widen<E>(p + width * size_of<E>);
  }
}
template <element E>
GQA_INLINE void take_apart(vec& first, vec& second) {
  if constexpr (E == element::bf16) {
    const vec a = first, b = second;
    first = evens(a, b);
    second = odds(a, b);
  }
}
template <element E>
GQA_INLINE void put_together(vec& first, vec& second) {
  if constexpr (E == element::bf16) {
    const vec even = first, odd = second;
    first = zip_low(even, odd);
    second = zip_high(even, odd);
  }
}
