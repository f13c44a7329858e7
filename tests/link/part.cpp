// One of two translation units of a program: PART names its function. Only pointers cross the boundary, so that it may
// be built with other flags than its neighbour; with CROSS a type of the library does, and such a program must not
// link.
#include <gqa/gqa.hpp>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

bool JOIN(decode_, PART)(const float* q, const float* k, const float* v, float* out) {
  constexpr std::int64_t tokens = 300;
  gqa::attention_spec<gqa::heads<4, 2>, gqa::dims<16>> spec;
  gqa::batch_spec batch;
  batch.kv_lens = tokens;
  gqa::attention_io<gqa::types<>> io;
  io.q = q;
  io.k = k;
  io.v = v;
  io.out = out;
  return gqa::try_attend(spec, batch, gqa::contiguous_layout::token_major(1, tokens, 2, 16, 16), io).ok();
}

#if defined(CROSS)
#if CROSS == 1
std::int64_t size_of(const gqa::batch_spec& batch) { return batch.size; }
#else
std::int64_t size_of(const gqa::batch_spec& batch);
std::int64_t call_across() { return size_of(gqa::batch_spec{}); }
#endif
#endif
