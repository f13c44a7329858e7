// Where two vectors of elements widen no better in another order than their own (vec_avx512.inl.hpp has one).
template <element E>
GQA_INLINE void widen_apart(const char* p, vec& first, vec& second) {
  first = widen<E>(p);
  second = widen<E>(p + width * size_of<E>);
}
template <element E>
GQA_INLINE void take_apart(vec&, vec&) {}
template <element E>
GQA_INLINE void put_together(vec&, vec&) {}
