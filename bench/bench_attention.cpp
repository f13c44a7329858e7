// Any cell on Google Benchmark: every parameter is a flag, a list of values sweeps it, and all lists are crossed.
//
//   bench_attention --kv_heads 32,8,1 --k_type f32,bf16 --v_type f32,bf16 --kv_len 4096 --benchmark_repetitions=9
//
// Counters: cache_bytes; GB/s and GFLOP/s reached; read_GB/s and fma_GFLOP/s, what the machine reached before and after
// in the same process on the same buffers; limit_ratio = limit time / measured time.
#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/measure.hpp"

namespace {

using bench::cell;

/// The flags as given: one list a parameter.
struct sweep {
  std::vector<std::int64_t> q_heads{32}, kv_heads{8}, head_dim{128}, v_head_dim{}, q_len{1}, kv_len{4096}, batch{1};
  std::vector<std::int64_t> page_size{16}, window{gqa::no_window};
  std::vector<int> threads{1};
  std::vector<std::string> q_type{"f32"}, k_type{"f32"}, v_type{}, layout{"token_major"}, target{};
  bool hot = false, huge_pages = false, sinks = false, v_in_k = false;
};

std::vector<std::string> element_names() {
  std::vector<std::string> names;
  for (gqa::element e : bench::all_elements) names.emplace_back(gqa::name(e));
  return names;
}
std::vector<std::string> layout_names() {
  std::vector<std::string> names;
  for (bench::cache_layout l : bench::all_layouts) names.emplace_back(bench::name(l));
  return names;
}
std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (gqa::isa i : gqa::all_isas) names.emplace_back(gqa::name(i));
  return names;
}

/// The value whose name is `text`; the flag's check has admitted it.
template <class Range>
auto by_name(const Range& all, const std::string& text) {
  return *std::find_if(std::begin(all), std::end(all), [&](auto value) {
    using bench::name;
    using gqa::name;
    return text == name(value);
  });
}

/// An integer of at least `least`, with a message for people.
CLI::Validator at_least(std::int64_t least) {
  const std::string what = "an integer of at least " + std::to_string(least);
  return {[=](std::string& text) {
            std::int64_t value = 0;
            const char* end = text.data() + text.size();
            const auto [stop, error] = std::from_chars(text.data(), end, value);
            return error == std::errc() && stop == end && value >= least ? "" : "is " + text + ": expected " + what;
          },
          ""};
}

void add_flags(CLI::App& app, sweep& s) {
  const auto counts = [&](const std::string& flag, std::vector<std::int64_t>& to, const std::string& what) {
    return app.add_option(flag, to, what)->delimiter(',')->check(at_least(1));
  };
  const auto names = [&](const std::string& flag, std::vector<std::string>& to, const std::string& what,
                         std::vector<std::string> allowed) {
    app.add_option(flag, to, what)->delimiter(',')->check(CLI::IsMember(std::move(allowed)));
  };
  counts("--q_heads", s.q_heads, "query heads")->capture_default_str();
  counts("--kv_heads", s.kv_heads, "KV heads; divides q_heads")->capture_default_str();
  counts("--head_dim", s.head_dim, "elements of a key")->capture_default_str();
  counts("--v_head_dim", s.v_head_dim, "elements of a value; head_dim where absent");
  counts("--q_len", s.q_len, "query tokens of each sequence, the last ones; causal")->capture_default_str();
  counts("--kv_len", s.kv_len, "tokens of each sequence")->capture_default_str();
  counts("--batch", s.batch, "sequences")->capture_default_str();
  names("--q_type", s.q_type, "queries and output", element_names());
  names("--k_type", s.k_type, "keys", element_names());
  names("--v_type", s.v_type, "values; k_type where absent", element_names());
  names("--layout", s.layout, "how the cache lies", layout_names());
  counts("--page_size", s.page_size, "tokens a page, in paged layouts")->capture_default_str();
  app.add_option("--threads", s.threads, "threads; 0: all this process may use")
      ->delimiter(',')
      ->check(at_least(0))
      ->capture_default_str();
  names("--isa", s.target, "kernels; GQA_ISA or the best where absent", isa_names());
  app.add_option("--window", s.window, "sliding window in tokens; -1: none")
      ->delimiter(',')
      ->check(at_least(-1))
      ->capture_default_str();
  app.add_flag("--sinks", s.sinks, "a learned sink logit a head");
  app.add_flag("--v_in_k", s.v_in_k, "V is the head of each K row (latent attention)");
  app.add_flag("--hot", s.hot, "one cache again and again, instead of a rotation that runs from memory");
  app.add_flag("--huge_pages", s.huge_pages, "ask for transparent huge pages");
  app.footer("Lists are separated by commas and crossed. --benchmark_* flags go to Google Benchmark.");
}

/// Calls f once for every element of `list`, after storing it in `to`; an empty list leaves `to` as it is.
template <class T, class U, class F>
void each(const std::vector<T>& list, U& to, F&& f) {
  if (list.empty()) return f();
  for (const T& value : list) {
    to = value;
    f();
  }
}

std::vector<cell> cross(const sweep& s) {
  std::vector<cell> cells;
  cell c;
  std::string q_type, k_type, v_type, layout, target;
  std::int64_t v_head_dim = 0;
  c.hot = s.hot;
  c.huge_pages = s.huge_pages;
  c.sinks = s.sinks;
  c.v_in_k = s.v_in_k;
  // clang-format off
  each(s.q_type, q_type, [&] { each(s.k_type, k_type, [&] { each(s.v_type, v_type, [&] {
  each(s.layout, layout, [&] { each(s.page_size, c.page_size, [&] { each(s.target, target, [&] {
  each(s.threads, c.threads, [&] { each(s.window, c.window, [&] { each(s.batch, c.batch, [&] {
  each(s.q_len, c.q_len, [&] { each(s.kv_len, c.kv_len, [&] { each(s.head_dim, c.head_dim, [&] {
  each(s.v_head_dim, v_head_dim, [&] { each(s.q_heads, c.q_heads, [&] { each(s.kv_heads, c.kv_heads, [&] {
    cell one = c;
    one.v_head_dim = s.v_head_dim.empty() ? c.head_dim : v_head_dim;
    one.q_type = by_name(bench::all_elements, q_type);
    one.k_type = by_name(bench::all_elements, k_type);
    one.v_type = by_name(bench::all_elements, s.v_type.empty() ? k_type : v_type);
    one.layout = by_name(bench::all_layouts, layout);
    if (!s.target.empty()) one.target = by_name(gqa::all_isas, target);
    if (one.threads == 0) one.threads = static_cast<int>(bench::allowed_cpus().size());
    cells.push_back(one);
  }); }); }); }); }); }); }); }); }); }); }); }); }); }); });
  // clang-format on
  return cells;
}

/// "attention/q_heads:32/kv_heads:8/...": what Google Benchmark's filters and JSON readers see.
std::string benchmark_name(const cell& c) {
  using std::to_string;
  std::string s = "attention/q_heads:" + to_string(c.q_heads) + "/kv_heads:" + to_string(c.kv_heads) +
                  "/head_dim:" + to_string(c.head_dim) + "/v_head_dim:" + to_string(c.v_head_dim) +
                  "/q_len:" + to_string(c.q_len) + "/kv_len:" + to_string(c.kv_len) + "/batch:" + to_string(c.batch) +
                  "/q:" + gqa::name(c.q_type) + "/k:" + gqa::name(c.k_type) + "/v:" + gqa::name(c.v_type) + "/" +
                  bench::name(c.layout);
  if (bench::is_paged(c.layout)) s += ":" + to_string(c.page_size);
  if (c.window >= 0) s += "/window:" + to_string(c.window);
  if (c.sinks) s += "/sinks";
  if (c.v_in_k) s += "/v_in_k";
  if (c.target) s += std::string("/isa:") + gqa::name(*c.target);
  s += "/threads:" + to_string(c.threads);
  return s + (c.hot ? "/hot" : "/cold");
}

/// Google Benchmark calls a benchmark several times to find its iterations: the last cell's memory is kept meanwhile.
struct prepared {
  std::unique_ptr<bench::problem> problem;
  bool failed = false;  ///< some cell reported an error

  bench::problem& of(const cell& c, std::size_t index) {
    if (index_ != index || !problem) {
      problem.reset();
      problem = std::make_unique<bench::problem>(c, bench::make_any_runner);
      bench::tune_read_probe(*problem, 0.01);
      index_ = index;
    }
    return *problem;
  }

 private:
  std::size_t index_ = 0;
};

void run_cell(benchmark::State& state, const cell& c, std::size_t index, prepared& kept) {
  try {
    bench::problem& p = kept.of(c, index);
    constexpr double probe = 0.05;
    const double read_before = bench::read_rate(p, probe), fma_before = bench::fma_peak(p.pool(), probe);
    const bench::usage before = bench::usage_now();
    const auto start = std::chrono::steady_clock::now();
    for (auto _ : state) p.run_next();
    const double seconds = bench::seconds_since(start) / static_cast<double>(state.iterations());
    const bench::usage after = bench::usage_now();
    const double read = (read_before + bench::read_rate(p, probe)) / 2;
    const double fma = (fma_before + bench::fma_peak(p.pool(), probe)) / 2;
    const bench::work w = p.amount();
    auto& counters = state.counters;
    counters["cache_bytes"] = static_cast<double>(p.memory().cache_bytes());
    counters["GB/s"] = w.bytes / seconds / 1e9;
    counters["GFLOP/s"] = w.flops / seconds / 1e9;
    counters["limit_ratio"] = std::max(w.bytes / read, w.flops / fma) / seconds;
    counters["read_GB/s"] = read / 1e9;
    counters["fma_GFLOP/s"] = fma / 1e9;
    counters["minor_faults"] = static_cast<double>(after.minor_faults - before.minor_faults);
    state.SetLabel(std::string("isa ") + gqa::name(p.operation().target()));
  } catch (const std::exception& e) {
    kept.problem.reset();
    kept.failed = true;
    state.SkipWithError(e.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Google Benchmark's own flags first; what remains is ours, and an unknown flag is an error.
  std::vector<char*> theirs{argv[0]}, ours{argv[0]};
  for (int i = 1; i < argc; ++i)
    (std::strncmp(argv[i], "--benchmark_", 12) == 0 ? theirs : ours).push_back(argv[i]);
  sweep flags;
  CLI::App app("Attention over a KV cache, one benchmark for each combination of the parameters.");
  add_flags(app, flags);
  try {
    app.parse(static_cast<int>(ours.size()), ours.data());
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }

  const std::vector<cell> cells = cross(flags);
  for (const cell& c : cells) {
    gqa::isa kernels{};
    gqa::status s = bench::check(c);
    if (s.ok()) s = gqa::resolve_isa(c.target, kernels);
    if (!s.ok()) {
      std::cerr << "bench_attention: " << s.message() << "\n  in " << bench::describe(c) << "\n";
      return 2;
    }
  }

  int their_count = static_cast<int>(theirs.size());
  benchmark::Initialize(&their_count, theirs.data());
  if (benchmark::ReportUnrecognizedArguments(their_count, theirs.data())) return 2;
  benchmark::AddCustomContext("gqa_best_isa", gqa::name(gqa::best_isa()));
  benchmark::AddCustomContext("huge_pages", bench::huge_page_state());
  prepared kept;
  for (std::size_t i = 0; i < cells.size(); ++i)
    benchmark::RegisterBenchmark(benchmark_name(cells[i]).c_str(),
                                 [&cells, &kept, i](benchmark::State& state) { run_cell(state, cells[i], i, kept); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  kept.problem.reset();
  benchmark::Shutdown();
  return kept.failed ? 1 : 0;
}
