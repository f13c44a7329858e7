// One run's tensors with the plan's strides: element (sequence, token, head) of each, as a pointer.
#pragma once

#include <cstdint>
#include <limits>

#include "../isa/processor.hpp"
#include "../kernel/table.hpp"
#include "../model/visibility.hpp"
#include "request.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// Strides of q, out or lse in elements, with the packed offsets resolved.
struct row_strides {
  std::int64_t batch = 0, token = 0, head = 0;
  const std::int64_t* first_token = nullptr;  ///< packed: [sequences]

  [[nodiscard]] std::int64_t offset(std::int64_t seq, std::int64_t t, std::int64_t h) const noexcept {
    return (first_token ? first_token[seq] * token : seq * batch) + t * token + h * head;
  }
};

/// Floats from one packed value to the next: a line more than v_stride, since rows a power of two apart would meet in
/// few of the cache's sets.
[[nodiscard]] constexpr std::int64_t packed_stride(std::int64_t v_stride) noexcept { return v_stride + 16; }

struct step_inputs {
  const kernel_table* kernels = nullptr;
  processor_traits processor;
  std::int64_t head_dim = 0, v_head_dim = 0;
  std::int64_t padded_dim = 0;  ///< head_dim rounded up to 8
  std::int64_t v_stride = 0;    ///< v_head_dim rounded up to 16
  float scale = 1, softcap = 0, inverse_softcap = 0;
  bool modifies = false;  ///< softcap, ALiBi or bias
  std::int64_t q_bytes = 4, k_bytes = 4, v_bytes = 4, out_bytes = 4;
  std::int64_t k_head = 0, v_head = 0;  ///< head strides in elements
  row_strides q_strides, out_strides, lse_strides;
  score_layout bias_layout, mask_layout;
  float minus_inf = -std::numeric_limits<float>::infinity();

  const char* q = nullptr;
  const char* k = nullptr;
  const char* v = nullptr;
  char* out = nullptr;
  float* lse = nullptr;
  const float* bias = nullptr;
  const std::uint8_t* mask = nullptr;
  const float* alibi_slopes = nullptr;
  const float* sinks = nullptr;

  [[nodiscard]] const void* q_row(std::int64_t seq, std::int64_t token, std::int64_t head) const noexcept {
    return q + q_strides.offset(seq, token, head) * q_bytes;
  }
  [[nodiscard]] void* out_row(std::int64_t seq, std::int64_t token, std::int64_t head) const noexcept {
    return out + out_strides.offset(seq, token, head) * out_bytes;
  }
  [[nodiscard]] float* lse_of(std::int64_t seq, std::int64_t token, std::int64_t head) const noexcept {
    return lse ? lse + lse_strides.offset(seq, token, head) : nullptr;
  }
  [[nodiscard]] const char* key_head(std::int64_t head) const noexcept { return k + head * k_head * k_bytes; }
  [[nodiscard]] const char* value_head(std::int64_t head) const noexcept { return v + head * v_head * v_bytes; }
  [[nodiscard]] std::int64_t score_offset(const score_layout& l, std::int64_t seq, std::int64_t head,
                                          std::int64_t token, std::int64_t key) const noexcept {
    return seq * l.batch + head * l.head + token * l.query + key * l.key;
  }
};

}  // namespace detail

GQA_NAMESPACE_END
