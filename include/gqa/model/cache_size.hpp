// bytes = layers * kv_heads * (head_dim * bytes of K + v_head_dim * bytes of V) * tokens * batch
// (2 * layers * kv_heads * head_dim * tokens * batch * bytes where K and V are alike).
#pragma once

#include "../base/checked.hpp"
#include "../base/storage.hpp"

GQA_NAMESPACE_BEGIN

struct cache_shape {
  std::int64_t layers = 1, kv_heads = 1, head_dim = 128, v_head_dim = 128, tokens = 0, batch = 1;
  element k_type = element::f32, v_type = element::f32;
};

/// Bytes that the keys and values take; `overflowed` where the number does not fit in 64 bits.
[[nodiscard]] constexpr checked cache_bytes(const cache_shape& c) noexcept {
  return checked(c.layers) * c.kv_heads *
         (checked(c.head_dim) * bytes_of(c.k_type) + checked(c.v_head_dim) * bytes_of(c.v_type)) * c.tokens * c.batch;
}

GQA_NAMESPACE_END
