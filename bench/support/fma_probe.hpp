// FMA peak: multiply-adds per second in the machine's widest registers, on enough independent accumulators that neither
// the latency (4 cycles, 2 units) nor memory limits it. Runs for as long as it is told, in every worker at once, so
// that clock and power are those of the cell it is compared with.
#pragma once

#include <chrono>
#include <cstdint>

#include <gqa/isa/detect.hpp>

#include "worker_pool.hpp"

#if GQA_X86
#include <immintrin.h>
#endif

namespace bench {

namespace detail {

// Each returns the flops of `rounds` rounds; the sum goes to `sink` so that nothing is optimised away.
#if GQA_X86
__attribute__((target("avx512f"), noinline)) inline double fma_rounds_avx512(std::int64_t rounds, float* sink) {
  constexpr int n = 24;
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.5f);
  __m512 a[n];
#pragma GCC unroll 24
  for (int i = 0; i < n; ++i) a[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < n; ++i) a[i] = _mm512_fmadd_ps(a[i], x, y);
  }
#pragma GCC unroll 24
  for (int i = 1; i < n; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  *sink = _mm512_cvtss_f32(a[0]);
  return static_cast<double>(rounds) * n * 16 * 2;
}

__attribute__((target("avx2,fma"), noinline)) inline double fma_rounds_avx2(std::int64_t rounds, float* sink) {
  constexpr int n = 12;
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.5f);
  __m256 a[n];
#pragma GCC unroll 12
  for (int i = 0; i < n; ++i) a[i] = _mm256_set1_ps(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < n; ++i) a[i] = _mm256_fmadd_ps(a[i], x, y);
  }
#pragma GCC unroll 12
  for (int i = 1; i < n; ++i) a[0] = _mm256_add_ps(a[0], a[i]);
  *sink = _mm256_cvtss_f32(a[0]);
  return static_cast<double>(rounds) * n * 8 * 2;
}
#endif

__attribute__((noinline)) inline double fma_rounds_baseline(std::int64_t rounds, float* sink) {
  using vec = float __attribute__((vector_size(16)));
  constexpr int n = GQA_X86 ? 12 : 24;  // registers: 16, or 32 on AArch64
  const vec x = {0.999f, 0.999f, 0.999f, 0.999f}, y = {0.5f, 0.5f, 0.5f, 0.5f};
  vec a[n];
#pragma GCC unroll 24
  for (int i = 0; i < n; ++i) a[i] = vec{} + static_cast<float>(i);
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < n; ++i) a[i] = a[i] * x + y;
  }
#pragma GCC unroll 24
  for (int i = 1; i < n; ++i) a[0] += a[i];
  *sink = a[0][0];
  return static_cast<double>(rounds) * n * 4 * 2;
}

inline double fma_rounds(gqa::isa target, std::int64_t rounds, float* sink) {
#if GQA_X86
  if (target == gqa::isa::avx512) return fma_rounds_avx512(rounds, sink);
  if (target == gqa::isa::avx2) return fma_rounds_avx2(rounds, sink);
#endif
  static_cast<void>(target);
  return fma_rounds_baseline(rounds, sink);
}

}  // namespace detail

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Flops per second of all workers together, over about `seconds`.
[[nodiscard]] inline double fma_peak(worker_pool& pool, double seconds) {
  struct context {
    gqa::isa target;
    double seconds;
    std::vector<double> rates;
  } run{gqa::best_isa(), seconds, std::vector<double>(static_cast<std::size_t>(pool.threads()))};
  pool.parallel_for(pool.threads(), [&run](std::int64_t worker) {
    constexpr std::int64_t rounds = 1000;  // some 10 us between two looks at the clock
    float sink = 0;
    double flops = 0, elapsed = 0;
    const auto start = std::chrono::steady_clock::now();
    do {
      flops += detail::fma_rounds(run.target, rounds, &sink);
      elapsed = seconds_since(start);
    } while (elapsed < run.seconds);
    volatile float keep = sink;
    static_cast<void>(keep);
    run.rates[static_cast<std::size_t>(worker)] = flops / elapsed;
  });
  double sum = 0;
  for (double rate : run.rates) sum += rate;
  return sum;
}

}  // namespace bench
