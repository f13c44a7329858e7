// fma without FMA hardware, two lanes: the product and the sum are formed in double (the product is exact) and the sum
// is rounded to odd, so that the one rounding to f32 is the fused one.
typedef double pair __attribute__((vector_size(16)));
typedef std::int64_t ipair __attribute__((vector_size(16)));
typedef float half_vec __attribute__((vector_size(8)));

GQA_INLINE half_vec fma_pair(half_vec a, half_vec b, half_vec c) {
  const pair product = __builtin_convertvector(a, pair) * __builtin_convertvector(b, pair);
  const pair addend = __builtin_convertvector(c, pair);
  const pair sum = product + addend;
  const pair back = sum - product;
  const pair rest = (product - (sum - back)) + (addend - back);  // TwoSum: product + addend == sum + rest
  const ipair inexact = (ipair)(rest > 0.0) | (ipair)(rest < 0.0);
  const ipair away = (ipair)(rest > 0.0) ^ (ipair)(sum > 0.0);  // -1 where the rest points towards zero
  const ipair even = ((ipair)sum & 1) - 1;
  const ipair odd = (ipair)sum + ((away | 1) & inexact & even);
  return __builtin_convertvector((pair)odd, half_vec);
}
