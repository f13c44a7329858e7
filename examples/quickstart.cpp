#include <cstdio>
#include <gqa/gqa.hpp>
#include <vector>

int main() {
  // 32 query heads share 8 KV heads; keys and values are stored as bf16.
  const gqa::attention_spec<gqa::heads<32, 8>, gqa::dims<128>> spec;
  gqa::kv_cache<gqa::bf16> cache({.capacity = 4096, .kv_heads = 8, .head_dim = 128, .v_head_dim = 128});
  std::vector<float> q(32 * 128, 0.5f), k(8 * 128), v(8 * 128), out(32 * 128);
  for (int token = 0; token < 100; ++token) {  // your model computes q, k and v here
    for (std::size_t i = 0; i < k.size(); ++i) k[i] = 0.001f * static_cast<float>(token);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(token);
    cache.append(0, k.data(), v.data(), 1);
    gqa::batch_spec step;  // one sequence, one query at its last token
    step.kv_lens = cache.lengths();
    gqa::attend(spec, step, cache.view(), q.data(), out.data());
  }
  std::printf("%lld tokens in %lld bytes; out[0] = %.4f\n", static_cast<long long>(cache.length(0)),
              static_cast<long long>(cache.bytes()), static_cast<double>(out[0]));
}
