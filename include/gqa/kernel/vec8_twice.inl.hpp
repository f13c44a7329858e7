// Where a register has 16 lanes: those of two rows of a dot product, each of them summed as one vec8 is
// (vec8_shuffle.inl.hpp).
typedef float rows_vec __attribute__((vector_size(64)));

GQA_INLINE rows_vec scale8(rows_vec x, float y) { return x * y; }
GQA_INLINE rows_vec add_pairs8(rows_vec a, rows_vec b) {
  return __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
}
GQA_INLINE rows_vec add_halves8(rows_vec low, rows_vec high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
         __builtin_shufflevector(low, high, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
}
GQA_INLINE void repeat_key(vec8 k, rows_vec& x) {
  x = __builtin_shufflevector(k, k, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
}
// Where an odd number of rows leaves one alone in the last register, n = 1, nothing is read or written for the other.
GQA_INLINE void load_rows(const float* q, int n, rows_vec& x) {
  if (n > 1) __builtin_memcpy(&x, q, sizeof x);
  else x = __builtin_shufflevector(load8(q), vec8{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
GQA_INLINE void store_rows(float* s, int n, rows_vec x) {
  store8(s, __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7));
  if (n > 1) store8(s + block_keys, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15));
}
