// The arithmetic contract ("one answer"): what fixes every bit of the result. The order of each reduction depends on
// token position and head_dim alone, never on how the work was cut, stored or vectorised.
//
//  1. q . k     8 virtual lanes; lane l is one fma chain from +0 over d = l, l + 8, l + 16, ... (absent d are +0 * +0);
//               lanes add up as ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
//  2. score     s = scale * (q . k); s = softcap * tanh(s * (1 / softcap)); s = fma(slope, key - query, s) with the
//               distance formed in integers; s = s + bias. Constants are formed in double and rounded once to f32.
//               A hidden key has s = -inf, whatever hid it.
//  3. weight    t = max(s * log2e, -FLT_MAX), n = rint(t), f = t - n; p = 2^(n - m) * poly(f), +0 where n - m <= -126;
//               p of a hidden key is 0 by selection. m is the integer maximum of n over this and the earlier visible
//               blocks of the chunk: all scale factors between partial results are powers of two.
//  4. blocks    of 64 keys at absolute positions 64 b ... 64 b + 63; when m grows, o and l are multiplied by
//               2^(old m - new m) (0 where the exponent is -126 or less, here and in 7) before the block is added.
//  5. P . V     within a chunk each output element is one fma chain from +0 over keys in order.
//  6. row sum   16 virtual lanes, lane = key % 16, in key order; at the chunk's end lanes add up pairwise as in 1.
//  7. chunks    of 256 tokens at absolute positions; their states (o, m, l) merge in the binary tree over chunk indices
//               (merge_tree.hpp), the state with the smaller m scaled: o = fma(o_small, 2^(m_small - m_big), o_big).
//               Merging with a chunk that nobody sees changes nothing.
//  8. sink      a state with o = 0, m = n, l = poly(f) of its logit; merges last.
//  9. output    o / l, one IEEE division, rounded once to the output type (nearest even, overflow to inf), zeros as +0;
//               lse = ln(l) + m ln 2, formed in double; a row that sees nothing has output +0 and lse -inf (the sink,
//               where there is one).
//
// Every fma above is fused, everything else is not. f16 and bf16 widen exactly. Default rounding and no flush to zero
// are set around each work item. Not promised: payloads of NaN, and rows whose own scores overflow or meet NaN; such a
// row touches no other row. A change of any bit is a new major version. Instructions that round differently (AVX512-BF16
// and AMX dot products, VNNI, BFMMLA) are never the default; the name arithmetic::native_bf16 is reserved for the option.
//
// Sources: online softmax, Milakov & Gimelshein 2018 (arXiv 1805.02867, section 3); exact rescaling by integer maxima
// and blocks of keys, Dao et al. 2022 (arXiv 2205.14135, section 3.1) with base 2 instead of e.
#pragma once

#include <cstdint>

#include "../base/config.hpp"

GQA_NAMESPACE_BEGIN

inline constexpr std::int64_t score_lanes = 8;     ///< virtual lanes of a dot product
inline constexpr std::int64_t sum_lanes = 16;      ///< virtual lanes of a row sum
inline constexpr std::int64_t block_keys = 64;     ///< keys whose weights share one maximum
inline constexpr std::int64_t chunk_tokens = 256;  ///< tokens whose partial results merge in the tree
inline constexpr std::int64_t chunk_blocks = chunk_tokens / block_keys;

GQA_NAMESPACE_END
