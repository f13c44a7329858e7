// How long a cell takes, against what the machine allows at that moment. One repetition is
//
//   read probe, FMA probe | cell | read probe, FMA probe
//
// each a burst of about the same length over the same rotation of caches; its ratio is limit / time with the limit from
// the probes around it. The result is the median of the repetitions, with quartiles. A probe that cannot bind (its limit
// is under a third of the other's) is measured once, before.
#pragma once

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "fma_probe.hpp"
#include "problem.hpp"

namespace bench {

struct quartiles {
  double low = 0, median = 0, high = 0;
  [[nodiscard]] double spread() const { return median > 0 ? (high - low) / median : 0; }
};

[[nodiscard]] inline quartiles quartiles_of(std::vector<double> x) {
  if (x.empty()) return {};
  std::sort(x.begin(), x.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(x.size() - 1);
    const auto i = static_cast<std::size_t>(place);
    const std::size_t j = std::min(i + 1, x.size() - 1);
    return x[i] + (place - static_cast<double>(i)) * (x[j] - x[i]);
  };
  return {at(0.25), at(0.5), at(0.75)};
}

struct measure_options {
  int repetitions = 9;
  double burst_seconds = 0.03;     ///< of cell and probes, or one pass where that takes longer
  double longest_probe = 0.3;      ///< a probe's burst is cut here even if the cell's one pass is longer
  int attempts = 2;                ///< a failed measurement is repeated, then flagged
};

struct measurement {
  work amount;
  quartiles seconds;               ///< of one run
  quartiles ratio;                 ///< limit / time
  quartiles read_rate, fma_rate;   ///< bytes and flops per second
  double limit_seconds = 0;        ///< from the median rates
  std::int64_t minor_faults = 0;   ///< in all the bursts of the cell together
  double cpu_per_wall = 0;         ///< processors in use during those bursts
  int attempts = 0;
  std::vector<std::string> flags{};  ///< why the measurement should not be trusted; empty where it can be

  [[nodiscard]] double bytes_per_second() const { return amount.bytes / seconds.median; }
  [[nodiscard]] double flops_per_second() const { return amount.flops / seconds.median; }
  [[nodiscard]] double peak_share() const { return flops_per_second() / fma_rate.median; }
};

namespace detail {

struct burst {
  double seconds_each = 0;
  std::int64_t passes = 0;
};

/// Passes until `seconds` are over, at least one.
template <class F>
burst run_burst(double seconds, F&& pass) {
  burst b;
  const auto start = std::chrono::steady_clock::now();
  double elapsed = 0;
  do {
    pass();
    ++b.passes;
    elapsed = seconds_since(start);
  } while (elapsed < seconds);
  b.seconds_each = elapsed / static_cast<double>(b.passes);
  return b;
}

/// Exactly `passes` passes.
template <class F>
double run_passes(std::int64_t passes, F&& pass) {
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < passes; ++i) pass();
  return seconds_since(start) / static_cast<double>(passes);
}

}  // namespace detail

/// Bytes per second of the read probe over the problem's caches, for about `seconds`.
[[nodiscard]] inline double read_rate(problem& p, double seconds) {
  return p.amount().bytes / detail::run_burst(seconds, [&] { p.read_next(); }).seconds_each;
}

/// Tries every way of reading on the problem's own caches and keeps the fastest. Returns its median rate.
inline double tune_read_probe(problem& p, double seconds) {
  read_variant best{};
  double best_rate = 0;
  const auto start = std::chrono::steady_clock::now();
  for (read_variant v : read_variants) {
    p.probe().variant = v;
    std::vector<double> rates;
    for (int i = 0; i < 3; ++i) rates.push_back(read_rate(p, seconds));
    const double rate = quartiles_of(rates).median;
    if (rate > best_rate) {
      best_rate = rate;
      best = v;
    }
    if (seconds_since(start) > 5) break;  // caches of gigabytes: the first variants must do
  }
  p.probe().variant = best;
  return best_rate;
}

namespace detail {

[[nodiscard]] inline measurement measure_once(problem& p, const measure_options& o, double read0, double fma0) {
  measurement m;
  m.amount = p.amount();
  const double read_limit = m.amount.bytes / read0, fma_limit = m.amount.flops / fma0;
  const bool reads = read_limit * 3 >= fma_limit, fmas = fma_limit * 3 >= read_limit;
  const double pass = run_burst(o.burst_seconds / 4, [&] { p.run_next(); }).seconds_each;
  const auto passes = std::max<std::int64_t>(1, std::llround(o.burst_seconds / pass));
  const double probe = std::min(std::max(o.burst_seconds, pass), o.longest_probe);

  std::vector<double> seconds, ratio, read, fma;
  double cpu = 0, wall = 0;
  for (int i = 0; i < o.repetitions; ++i) {
    double read_before = read0, fma_before = fma0, read_after = read0, fma_after = fma0;
    if (fmas) fma_before = fma_peak(p.pool(), probe);
    if (reads) read_before = read_rate(p, probe);
    const usage before = usage_now();
    const double each = run_passes(passes, [&] { p.run_next(); });
    const usage after = usage_now();
    if (reads) read_after = read_rate(p, probe);
    if (fmas) fma_after = fma_peak(p.pool(), probe);
    m.minor_faults += after.minor_faults - before.minor_faults;
    cpu += after.cpu_seconds - before.cpu_seconds;
    wall += each * static_cast<double>(passes);
    seconds.push_back(each);
    read.insert(read.end(), {read_before, read_after});
    fma.insert(fma.end(), {fma_before, fma_after});
    const double bandwidth = (read_before + read_after) / 2, peak = (fma_before + fma_after) / 2;
    ratio.push_back(std::max(m.amount.bytes / bandwidth, m.amount.flops / peak) / each);
  }
  m.seconds = quartiles_of(seconds);
  m.ratio = quartiles_of(ratio);
  m.read_rate = quartiles_of(read);
  m.fma_rate = quartiles_of(fma);
  m.limit_seconds = std::max(m.amount.bytes / m.read_rate.median, m.amount.flops / m.fma_rate.median);
  m.cpu_per_wall = wall > 0 ? cpu / wall : 0;

  const auto percent = [](double x) { return std::to_string(static_cast<int>(std::lround(100 * x))) + " %"; };
  if (m.ratio.median > 1.05) m.flags.push_back("faster than its limit");
  if (reads && m.read_rate.spread() > 0.1) m.flags.push_back("read probe spreads " + percent(m.read_rate.spread()));
  if (fmas && m.fma_rate.spread() > 0.1) m.flags.push_back("FMA probe spreads " + percent(m.fma_rate.spread()));
  const double wanted = static_cast<double>(p.of().threads);
  if (m.cpu_per_wall < 0.9 * wanted) m.flags.push_back("had " + percent(m.cpu_per_wall / wanted) + " of its processors");
  if (m.minor_faults > 0) m.flags.push_back(std::to_string(m.minor_faults) + " minor faults");
  return m;
}

}  // namespace detail

/// Measures; a result above its limit, a probe whose quartiles lie more than 10 % apart, processors that others took or a
/// page fault inside a burst make it measure again, and the last attempt keeps its flags.
[[nodiscard]] inline measurement measure(problem& p, const measure_options& o = {}) {
  const double read0 = tune_read_probe(p, o.burst_seconds / 3);
  const double fma0 = fma_peak(p.pool(), o.burst_seconds);
  measurement m;
  for (int attempt = 1; attempt <= o.attempts; ++attempt) {
    m = detail::measure_once(p, o, read0, fma0);
    m.attempts = attempt;
    if (m.flags.empty()) break;
  }
  return m;
}

}  // namespace bench
