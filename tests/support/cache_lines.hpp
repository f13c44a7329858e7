// Where keys and values of a stored cache lie in memory.
#pragma once

#include <cstdint>
#include <gqa/gqa.hpp>
#include <vector>

#include "stored_cache.hpp"

namespace gqa_test {

// Where the lines of `heads` heads and of tokens [begin, end) begin, counted from the first key or value: of each row
// or, of keys in tiles, of 16 of them.
template <class T>
std::vector<std::uintptr_t> lines_of(const stored_cache<T, T>& cache, std::int64_t heads, std::int64_t dim, bool keys,
                                     std::int64_t begin_token, std::int64_t end_token) {
  std::vector<std::uintptr_t> lines;
  cache.visit([&](const auto& layout) {
    const std::int64_t together = keys && layout.order() == gqa::key_order::tiles ? gqa::tile_tokens : 1;
    const std::int64_t head = keys ? layout.k_strides().head : layout.v_strides().head;
    const auto size = static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t token = begin_token / together * together; token < end_token; token += together)
      for (std::int64_t h = 0; h < heads; ++h) {
        const gqa::kv_run run = layout.run_at(0, token);
        const std::int64_t begin = ((keys ? run.k : run.v) + h * head) * size, end = begin + together * dim * size;
        for (std::int64_t byte = begin - begin % gqa::line_bytes; byte < end; byte += gqa::line_bytes)
          lines.push_back(reinterpret_cast<std::uintptr_t>(keys ? cache.k() : cache.v()) +
                          static_cast<std::uintptr_t>(byte));
      }
  });
  return lines;
}

}  // namespace gqa_test
