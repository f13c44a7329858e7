// What a plan is made from (lengths, strides, options) and what a run is given (pointers).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "../base/index_view.hpp"
#include "../isa/target.hpp"
#include "../model/spec.hpp"

GQA_NAMESPACE_BEGIN

/// Sequences of one step, each with its own lengths. The arrays are read during plan and update only.
struct batch_spec {
  std::int64_t size = 1;  ///< sequences
  index_view q_lens{1};   ///< queries of each sequence; 0 allowed
  index_view kv_lens{};   ///< tokens of each sequence, those of this step included
  index_view q_start{};   ///< position of each sequence's first query; kv_len - q_len where absent
};

/// Strides, in elements, of a tensor [sequence][query token][query head][dim]; the dim stride is 1.
struct row_layout {
  std::int64_t batch = 0;    ///< between sequences (unused where packed)
  std::int64_t token = 0;    ///< between query tokens
  std::int64_t head = 0;     ///< between query heads
  index_view first_token{};  ///< packed: the row of each sequence's first query, in tokens; read by every update
};

/// Strides of bias and mask, [sequence][query head][query token][key position]; 0 broadcasts.
struct score_layout {
  std::int64_t batch = 0, head = 0, query = 0, key = 1;
};

/// Absent layouts are dense: [size][longest q_len][q_heads][dim] (lse without dim).
struct tensor_layouts {
  std::optional<row_layout> q{}, out{}, lse{};
  score_layout bias{}, mask{};
};

struct plan_options {
  std::int64_t shares = 1;      ///< items the work is cut into: as many as there are threads, or a small multiple
  std::optional<isa> target{};  ///< else GQA_ISA, else the best this machine runs
  std::int64_t max_batch = 0;   ///< capacities for update(): 0 takes them from the first batch and the layout
  std::int64_t max_q_len = 0;
  std::int64_t max_kv_len = 0;
};

/// One layer's tensors. Pointers of features that are off stay null.
template <class Types>
struct attention_io {
  const typename Types::q* q = nullptr;
  const typename Types::k* k = nullptr;
  const typename Types::v* v = nullptr;
  typename Types::out* out = nullptr;
  float* lse = nullptr;
  const float* bias = nullptr;
  const std::uint8_t* mask = nullptr;
  const float* alibi_slopes = nullptr;
  const float* sinks = nullptr;
};

GQA_NAMESPACE_END
