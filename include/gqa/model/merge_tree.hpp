// The fixed binary tree in which partial states merge: node (level, i) covers the 2^level chunks from i * 2^level on,
// and absent chunks are the identity. Neighbouring states a < b therefore merge at the level of the highest bit in
// which their chunk indices differ, and before either merges with anything further away:
//
//   join(a, b) = bit width of (a xor b);   (a, b) merges once join(a, b) < join(left, a) and join(a, b) < join(b,
//   right)
//
// The tree never depends on how many chunks there are, so prefill, decode and any split of the chunks share it.
#pragma once

#include <bit>
#include <cstdint>

#include "../base/config.hpp"

GQA_NAMESPACE_BEGIN

/// Level at which two different chunks meet; larger is later. `no_chunk` on either side never meets anything.
inline constexpr std::int64_t no_chunk = -1;

[[nodiscard]] constexpr int join_level(std::int64_t a, std::int64_t b) noexcept {
  if (a == no_chunk || b == no_chunk) return 64;
  return std::bit_width(static_cast<std::uint64_t>(a ^ b));
}

/// Pending states a stream of chunks below `chunks` can hold at once, the one being computed included. A stream that
/// starts or ends inside the tree keeps its complete subtrees on both sides apart, hence twice the depth.
[[nodiscard]] constexpr int max_pending(std::int64_t chunks) noexcept {
  return 2 * std::bit_width(static_cast<std::uint64_t>(chunks > 0 ? chunks : 1)) + 2;
}

GQA_NAMESPACE_END
