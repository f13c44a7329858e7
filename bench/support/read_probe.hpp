// Read bandwidth: the fastest plain read of given memory. The variants differ in how many streams one worker follows at
// once, how far ahead it prefetches and into which level of cache, and whether it prefetches a line of each memory page
// long before, so that the processor has their translations; a problem tries each on its own buffers and keeps the one
// with the best median.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gqa/isa/detect.hpp>

#include "worker_pool.hpp"

#if GQA_X86
#include <immintrin.h>
#endif

namespace bench {

/// Bytes [begin, end) of a buffer, counted from its start.
struct segment {
  std::int64_t begin = 0, end = 0;
};

struct read_variant {
  int streams = 1;
  std::int64_t prefetch = 0;  ///< bytes ahead of the read; 0: left to the hardware
  std::int64_t pages = 0;     ///< memory pages prefetched at a time ahead of the read; 0: none
  bool near = false;          ///< into the first level of cache, not the second
};

// Prefetching into the first level read faster nowhere but on an Intel Xeon, with eight streams.
inline constexpr std::array<read_variant, 13> read_variants = {{{1, 0},
                                                                {2, 0},
                                                                {4, 0},
                                                                {1, 1024},
                                                                {1, 4096},
                                                                {4, 2048},
                                                                {4, 4096},
                                                                {8, 256},
                                                                {8, 1024},
                                                                {1, 0, 64},
                                                                {1, 4096, 64},
                                                                {8, 256, 0, true},
                                                                {8, 1024, 0, true}}};

namespace detail {

inline constexpr std::int64_t line = 64, block = 16 * line, memory_page = 4096;

/// Inlined by force: of a function that does nothing but prefetch, a compiler may drop the calls.
__attribute__((always_inline)) inline void prefetch_block(const std::byte* p, bool near) {
  if (near)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) __builtin_prefetch(p + i * line, 0, 3);
  else
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) __builtin_prefetch(p + i * line, 0, 2);
}

/// `blocks` blocks from each stream, the streams in turn. Reading is all it does: the or of all words goes to `sink`.
/// Each line's or waits for the one before: reads from memory that rush ahead of it come in slower, by half and more.
#if GQA_X86
__attribute__((target("avx512f"), noinline)) inline void read_avx512(const std::byte* const* stream, int streams,
                                                                     std::int64_t blocks, std::int64_t prefetch,
                                                                     bool near, std::uint64_t* sink) {
  __m512i a = _mm512_setzero_si512();
  for (std::int64_t b = 0; b < blocks; ++b)
    for (int s = 0; s < streams; ++s) {
      const std::byte* p = stream[s] + b * block;
      if (prefetch) prefetch_block(p + prefetch, near);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) a = _mm512_or_si512(a, _mm512_loadu_si512(p + i * line));
    }
  std::uint64_t words[8];
  _mm512_storeu_si512(words, a);
  *sink |= words[0];
}

__attribute__((target("avx2"), noinline)) inline void read_avx2(const std::byte* const* stream, int streams,
                                                                std::int64_t blocks, std::int64_t prefetch, bool near,
                                                                std::uint64_t* sink) {
  __m256i a[2] = {};
  for (std::int64_t b = 0; b < blocks; ++b)
    for (int s = 0; s < streams; ++s) {
      const std::byte* p = stream[s] + b * block;
      if (prefetch) prefetch_block(p + prefetch, near);
#pragma GCC unroll 32
      for (int i = 0; i < 32; ++i)
        a[i % 2] = _mm256_or_si256(a[i % 2], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i * 32)));
    }
  a[0] = _mm256_or_si256(a[0], a[1]);
  *sink |= static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm256_castsi256_si128(a[0])));
}
#endif

__attribute__((noinline)) inline void read_baseline(const std::byte* const* stream, int streams, std::int64_t blocks,
                                                    std::int64_t prefetch, bool near, std::uint64_t* sink) {
  using vec = std::uint64_t __attribute__((vector_size(16), aligned(8), may_alias));
  vec a[4] = {};
  for (std::int64_t b = 0; b < blocks; ++b)
    for (int s = 0; s < streams; ++s) {
      const std::byte* p = stream[s] + b * block;
      if (prefetch) prefetch_block(p + prefetch, near);
#pragma GCC unroll 64
      for (int i = 0; i < 64; ++i) a[i % 4] |= *reinterpret_cast<const vec*>(p + i * 16);
    }
  *sink |= a[0][0] | a[1][0] | a[2][0] | a[3][0];
}

inline void read_streams(gqa::isa target, const std::byte* const* stream, std::int64_t blocks,
                         const read_variant& variant, std::uint64_t* sink) {
  const int streams = variant.streams;
  const std::int64_t prefetch = variant.prefetch;
  const bool near = variant.near;
#if GQA_X86
  if (target == gqa::isa::avx512) return read_avx512(stream, streams, blocks, prefetch, near, sink);
  if (target == gqa::isa::avx2) return read_avx2(stream, streams, blocks, prefetch, near, sink);
#endif
  static_cast<void>(target);
  read_baseline(stream, streams, blocks, prefetch, near, sink);
}

/// A line of each memory page from `p` to `end`, every eighth page first: their translations share a line of the table.
/// Inlined by force, as prefetch_block.
__attribute__((always_inline)) inline void prefetch_pages(const std::byte* p, const std::byte* end) {
  for (std::int64_t first = 0; first < 8; ++first)
    for (std::int64_t at = first * memory_page; at < end - p; at += 8 * memory_page) __builtin_prefetch(p + at, 0, 3);
}

/// One segment, cut into streams of whole blocks; what is left over is read line by line.
inline void read_segment(gqa::isa target, const std::byte* base, segment s, read_variant variant, std::uint64_t* sink) {
  if (variant.pages > 0) {
    const std::int64_t burst = variant.pages * memory_page;
    prefetch_pages(base + s.begin, base + std::min(s.begin + burst, s.end));
    for (segment part{s.begin, 0}; part.begin < s.end; part.begin = part.end) {
      part.end = std::min(part.begin + burst, s.end);
      prefetch_pages(base + part.end, base + std::min(part.end + burst, s.end));
      read_segment(target, base, part, {variant.streams, variant.prefetch, 0, variant.near}, sink);
    }
    return;
  }
  std::array<const std::byte*, 8> stream{};
  const std::int64_t blocks = (s.end - s.begin) / (block * variant.streams);
  for (int i = 0; i < variant.streams; ++i) stream[static_cast<std::size_t>(i)] = base + s.begin + i * blocks * block;
  read_streams(target, stream.data(), blocks, variant, sink);
  for (std::int64_t at = s.begin + blocks * block * variant.streams; at < s.end; at += line)
    *sink |= *reinterpret_cast<const std::uint64_t*>(base + at);
}

}  // namespace detail

/// Segments in ascending order, touching ones joined, widened to whole cache lines.
[[nodiscard]] inline std::vector<segment> joined(std::vector<segment> parts) {
  std::vector<segment> out;
  for (segment& s : parts)
    s = {s.begin / detail::line * detail::line, (s.end + detail::line - 1) / detail::line * detail::line};
  std::sort(parts.begin(), parts.end(), [](const segment& a, const segment& b) { return a.begin < b.begin; });
  for (const segment& s : parts) {
    if (!out.empty() && s.begin <= out.back().end) out.back().end = std::max(out.back().end, s.end);
    else out.push_back(s);
  }
  return out;
}

/// The share of worker w of `workers`: equal bytes, whole lines, in order.
[[nodiscard]] inline std::vector<segment> share_of(const std::vector<segment>& all, std::int64_t w,
                                                   std::int64_t workers) {
  std::int64_t lines = 0;
  for (const segment& s : all) lines += (s.end - s.begin) / detail::line;
  const std::int64_t first = lines * w / workers * detail::line, last = lines * (w + 1) / workers * detail::line;
  std::vector<segment> mine;
  std::int64_t at = 0;  // bytes of all segments before this one
  for (const segment& s : all) {
    const std::int64_t size = s.end - s.begin, low = std::max(first, at), high = std::min(last, at + size);
    if (low < high) mine.push_back({s.begin + low - at, s.begin + high - at});
    at += size;
  }
  return mine;
}

/// Reads the same parts of K and V in one cache after another.
class reader {
 public:
  reader() = default;
  reader(worker_pool& pool, const std::vector<segment>& k, const std::vector<segment>& v)
      : pool_(&pool), target_(gqa::best_isa()), sinks_(static_cast<std::size_t>(pool.threads()) * 8) {
    for (int w = 0; w < pool.threads(); ++w) {
      k_.push_back(share_of(k, w, pool.threads()));
      v_.push_back(share_of(v, w, pool.threads()));
    }
  }

  read_variant variant{};

  void read(const std::byte* k, const std::byte* v) noexcept {
    k_base_ = k;
    v_base_ = v;
    pool_->parallel_for(pool_->threads(), [this](std::int64_t worker) {
      const auto w = static_cast<std::size_t>(worker);
      std::uint64_t* sink = &sinks_[w * 8];  // a line each
      for (const segment& s : k_[w]) detail::read_segment(target_, k_base_, s, variant, sink);
      for (const segment& s : v_[w]) detail::read_segment(target_, v_base_, s, variant, sink);
    });
  }

 private:
  worker_pool* pool_ = nullptr;
  gqa::isa target_ = gqa::isa::portable;
  std::vector<std::vector<segment>> k_, v_;
  std::vector<std::uint64_t> sinks_;
  const std::byte* k_base_ = nullptr;
  const std::byte* v_base_ = nullptr;
};

}  // namespace bench
