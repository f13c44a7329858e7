// Two vectors of elements, each in any order that widens well, the same for all rows; sums of them are taken apart into
// that order and put together again. Here, where none is better, it is their own.
template <element E>
GQA_INLINE void widen_apart(const char* p, vec& first, vec& second) {
  first = widen<E>(p);
  second = widen<E>(p + width * size_of<E>);
}
template <element E>
GQA_INLINE void take_apart(vec&, vec&) {}
template <element E>
GQA_INLINE void put_together(vec&, vec&) {}
