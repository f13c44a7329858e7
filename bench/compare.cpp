// The comparison a user comes for: what MHA, GQA-8, GQA-4 and MQA cost on this machine, how close to what the machine
// allows, and how exact they are. Tables on stdout, progress on stderr, a plot and the numbers in files.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <gqa/model/cache_size.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "compare_cases.hpp"
#include "support/error_check.hpp"
#include "support/measure.hpp"
#include "support/svg.hpp"
#include "support/text_table.hpp"

namespace {

using bench::cell;
using bench::number;
using bench::ratio;

constexpr std::int64_t model_layers = 32, query_heads = 32, dim = 128;
constexpr std::int64_t head_counts[] = {32, 8, 4, 1};

std::string head_name(std::int64_t kv_heads) {
  return kv_heads == query_heads ? "MHA (32)" : kv_heads == 1 ? "MQA (1)" : "GQA-" + std::to_string(kv_heads);
}

struct settings {
  bool quick = false;
  int threads = 1;
  std::string cases, svg = "compare.svg", json = "compare.json";
};

struct result {
  cell c;
  bench::measurement m;
  bench::sampled_error error;
  gqa::isa target = gqa::isa::portable;
};

/// A star on what should not be trusted.
std::string mark(const result& r) { return r.m.flags.empty() ? "" : "*"; }

/// One line a cell on stderr, since a cell takes a second or more.
class progress {
 public:
  explicit progress(std::size_t cells) : cells_(cells) {}
  void begin(const std::string& what) { std::cerr << "[" << ++done_ << "/" << cells_ << "] " << what << " ... " << std::flush; }
  void end(const result& r) {
    std::cerr << number(1e3 * r.m.seconds.median) << " ms, " << ratio(r.m.ratio.median) << " of the limit";
    std::cerr << mark(r) << "\n";
  }

 private:
  std::size_t cells_, done_ = 0;
};

std::vector<cell> decode_cells(const settings& s) {
  std::vector<cell> cells;
  for (std::int64_t tokens : {4096, 16384})
    for (gqa::element type : {gqa::element::f32, gqa::element::bf16})
      for (std::int64_t heads : head_counts) {
        cell c;
        c.kv_heads = heads;
        c.kv_len = tokens;
        c.k_type = c.v_type = type;
        c.threads = s.threads;
        cells.push_back(c);
      }
  return cells;
}

std::vector<cell> prefill_cells(const settings& s) {
  std::vector<cell> cells;
  for (gqa::element type : {gqa::element::f32, gqa::element::bf16})
    for (std::int64_t heads : head_counts) {
      cell c;
      c.kv_heads = heads;
      c.q_len = c.kv_len = 2048;
      c.k_type = c.v_type = type;
      c.threads = s.threads;
      cells.push_back(c);
    }
  return cells;
}

std::vector<result> measure_all(const std::vector<cell>& cells, const bench::measure_options& options, progress& log) {
  std::vector<result> results;
  for (const cell& c : cells) {
    log.begin((c.q_len > 1 ? "prefill " : "decode ") + head_name(c.kv_heads) + ", " + std::to_string(c.kv_len) + " tokens, " +
              gqa::name(c.k_type));
    bench::problem p(c, bench::make_plain_runner);
    result r{c, {}, bench::check_output(p), p.operation().target()};
    r.m = bench::measure(p, options);
    log.end(r);
    results.push_back(r);
  }
  return results;
}

/// The MHA cell that differs from `r` in nothing else.
const result& mha_of(const std::vector<result>& all, const result& r) {
  return *std::find_if(all.begin(), all.end(), [&](const result& o) {
    return o.c.kv_heads == query_heads && o.c.kv_len == r.c.kv_len && o.c.k_type == r.c.k_type;
  });
}

std::string speed_up(const std::vector<result>& all, const result& r) {
  return number(mha_of(all, r).m.seconds.median / r.m.seconds.median, 2) + "x";
}

void print_decode(const std::vector<result>& results) {
  std::printf("\nDecode: one token of one layer, %lld query heads x %lld, cache token-major, read from memory\n\n",
              static_cast<long long>(query_heads), static_cast<long long>(dim));
  bench::text_table table({"tokens", "cache", "heads", "size, 32 layers", "ms/token/layer", "limit, ms", "GB/s", "of limit",
                           "vs MHA", "largest error"});
  for (const result& r : results) {
    if (r.c.kv_heads == query_heads && &r != results.data()) table.add_rule();
    const gqa::cache_shape shape{model_layers, r.c.kv_heads, dim, dim, r.c.kv_len, 1, r.c.k_type, r.c.v_type};
    table.add({std::to_string(r.c.kv_len), gqa::name(r.c.k_type), head_name(r.c.kv_heads),
               bench::byte_size(static_cast<double>(gqa::cache_bytes(shape).value)), number(1e3 * r.m.seconds.median),
               number(1e3 * r.m.limit_seconds), number(r.m.bytes_per_second() / 1e9), ratio(r.m.ratio.median) + mark(r),
               speed_up(results, r), bench::scientific(r.error.largest)});
  }
  std::cout << table.render(3);
}

void print_prefill(const std::vector<result>& results) {
  std::printf("\nPrefill: %lld tokens, causal, one layer\n\n", static_cast<long long>(results.front().c.q_len));
  bench::text_table table({"tokens", "cache", "heads", "ms/layer", "GFLOP/s", "of FMA peak", "vs MHA", "largest error"});
  for (const result& r : results) {
    if (r.c.kv_heads == query_heads && &r != results.data()) table.add_rule();
    table.add({std::to_string(r.c.q_len), gqa::name(r.c.k_type), head_name(r.c.kv_heads), number(1e3 * r.m.seconds.median),
               number(r.m.flops_per_second() / 1e9), ratio(r.m.peak_share()) + mark(r), speed_up(results, r),
               bench::scientific(r.error.largest)});
  }
  std::cout << table.render(3);
}

void print_flags(const std::vector<result>& results) {
  bool first = true;
  for (const result& r : results) {
    if (r.m.flags.empty()) continue;
    if (first) std::cout << "\n* in doubt: the machine was busy, or its clock moved\n";
    first = false;
    std::cout << "    " << bench::describe(r.c) << ":";
    for (std::size_t i = 0; i < r.m.flags.size(); ++i) std::cout << (i ? ", " : " ") << r.m.flags[i];
    std::cout << "\n";
  }
}

std::string machine_line() {
  return bench::cpu_name() + ", " + std::to_string(bench::allowed_cpus().size()) + " CPUs, last-level cache " +
         bench::byte_size(static_cast<double>(bench::last_level_cache_bytes()));
}

/// Both limits as the machine showed them over the decode cells: medians of the medians.
struct limits {
  double read = 0, fma = 0;
};
limits limits_of(const std::vector<result>& results) {
  std::vector<double> read, fma;
  for (const result& r : results) {
    read.push_back(r.m.read_rate.median);
    fma.push_back(r.m.fma_rate.median);
  }
  return {bench::quartiles_of(read).median, bench::quartiles_of(fma).median};
}

void print_head(const settings& s, const result& r, const limits& l) {
  std::cout << "\nMachine     " << machine_line() << "\n"
            << "Kernels     " << gqa::name(r.target) << (std::getenv("GQA_ISA") ? " (GQA_ISA)" : "") << "\n"
            << "Threads     " << s.threads << (s.threads == 1 ? "  (--threads 0: all)" : "") << "\n"
            << "Limits      reads " << number(l.read / 1e9) << " GB/s, FMA peak " << number(l.fma / 1e9)
            << " GFLOP/s, measured in between\n"
            << "Huge pages  " << bench::huge_page_state() << "\n";
}

void plot(const settings& s, const std::vector<result>& results, const limits& l) {
  bench::svg::figure f;
  f.title = "Decode: time per token and layer against KV heads";
  f.subtitle = "32 query heads x 128, token-major cache read from memory, " + std::to_string(s.threads) +
               (s.threads == 1 ? " thread" : " threads") + " of " + bench::cpu_name();
  f.footer = "Limit: the larger of bytes / read bandwidth (" + number(l.read / 1e9) + " GB/s) and flops / FMA peak (" +
             number(l.fma / 1e9) + " GFLOP/s), measured beside each point.";
  for (std::int64_t tokens : {4096, 16384}) {
    bench::svg::panel p{std::to_string(tokens) + " tokens", {"KV heads (1: MQA, 32: MHA)", true, {1, 4, 8, 32}}, {"ms per token and layer"}, {}};
    int colour = 0;
    for (gqa::element type : {gqa::element::f32, gqa::element::bf16}) {
      bench::svg::series measured{gqa::name(type), bench::svg::colours[colour], false, {}};
      bench::svg::series limit{std::string(gqa::name(type)) + ", limit", bench::svg::colours[colour++], true, {}};
      for (const result& r : results) {
        if (r.c.kv_len != tokens || r.c.k_type != type) continue;
        measured.points.emplace_back(r.c.kv_heads, 1e3 * r.m.seconds.median);
        limit.points.emplace_back(r.c.kv_heads, 1e3 * r.m.limit_seconds);
      }
      p.lines.push_back(measured);
      p.lines.push_back(limit);
    }
    f.panels.push_back(p);
  }
  bench::svg::write(f, s.svg);
}

nlohmann::json to_json(const result& r) {
  return {{"cell", bench::describe(r.c)},
          {"kv_heads", r.c.kv_heads},
          {"tokens", r.c.kv_len},
          {"q_len", r.c.q_len},
          {"cache_type", gqa::name(r.c.k_type)},
          {"seconds", r.m.seconds.median},
          {"limit_seconds", r.m.limit_seconds},
          {"limit_ratio", r.m.ratio.median},
          {"limit_ratio_quartiles", {r.m.ratio.low, r.m.ratio.high}},
          {"GB/s", r.m.bytes_per_second() / 1e9},
          {"GFLOP/s", r.m.flops_per_second() / 1e9},
          {"read_GB/s", r.m.read_rate.median / 1e9},
          {"fma_GFLOP/s", r.m.fma_rate.median / 1e9},
          {"largest_error", r.error.largest},
          {"error_share_of_bound", r.error.share_of_bound},
          {"flags", r.m.flags}};
}

void write_json(const settings& s, const std::vector<result>& decode, const std::vector<result>& prefill) {
  nlohmann::json j = {{"machine", machine_line()}, {"threads", s.threads}, {"isa", gqa::name(decode.front().target)}};
  for (const result& r : decode) j["decode"].push_back(to_json(r));
  for (const result& r : prefill) j["prefill"].push_back(to_json(r));
  std::ofstream file(s.json);
  file << j.dump(1) << "\n";
  if (!file.flush()) throw std::runtime_error("cannot write " + s.json);
}

/// Returns whether every case lies within its bound.
bool print_cases(const std::string& folder) {
  if (folder.empty()) return true;
  const std::vector<bench::case_result> cases = bench::run_model_cases(folder);
  std::cout << "\nReal models' own attention, captured: largest error as a share of what the arithmetic allows (1 would be a miss)\n\n";
  bench::text_table table({"case", "shape", "f32 cache", "bf16 cache", ""});
  bool good = !cases.empty();
  for (const bench::case_result& r : cases) {
    const bool passed = r.failure.empty() && r.f32 <= 1 && r.bf16 <= 1;
    good = good && passed;
    const auto share = [&](double x) { return r.failure.empty() ? number(x, 2) : "-"; };
    table.add({r.name, r.shape, share(r.f32), share(r.bf16), passed ? "ok" : "FAILED " + r.failure});
  }
  std::cout << table.render(2, true);
  if (cases.empty()) std::cout << "no cases in " << folder << "\n";
  return good;
}

int run(const settings& s) {
  bench::measure_options decode_options, prefill_options;
  decode_options.burst_seconds = s.quick ? 0.015 : 0.04;
  decode_options.attempts = s.quick ? 1 : 3;
  prefill_options.repetitions = s.quick ? 3 : 9;
  prefill_options.longest_probe = 0.1;
  prefill_options.attempts = s.quick ? 1 : 2;

  const std::vector<cell> decode = decode_cells(s), prefill = prefill_cells(s);
  progress log(decode.size() + prefill.size());
  const std::vector<result> decoded = measure_all(decode, decode_options, log);
  const limits l = limits_of(decoded);
  print_head(s, decoded.front(), l);
  print_decode(decoded);
  std::cout << std::flush;
  const std::vector<result> prefilled = measure_all(prefill, prefill_options, log);
  print_prefill(prefilled);
  std::vector<result> all = decoded;
  all.insert(all.end(), prefilled.begin(), prefilled.end());
  print_flags(all);
  plot(s, decoded, l);
  write_json(s, decoded, prefilled);

  bool good = print_cases(s.cases);
  for (const result& r : all)
    if (!(r.error.share_of_bound <= 1)) {
      std::cout << "\nWRONG: " << bench::describe(r.c) << " differs from the reference by " << bench::scientific(r.error.largest) << "\n";
      good = false;
    }
  std::cout << "\nPlot     " << s.svg << "\nNumbers  " << s.json << "\n";
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  CLI::App app("Compares MHA, GQA-8, GQA-4 and MQA on this machine: decode, prefill, limits, errors.");
  app.add_flag("--quick", s.quick, "fewer repetitions");
  app.add_option("--threads", s.threads, "threads; 0: all this process may use")->check(CLI::Range(0, 4096))->capture_default_str();
  app.add_option("--cases", s.cases, "folder of captured model cases to close with")->check(CLI::ExistingDirectory);
  app.add_option("--svg", s.svg, "where the plot goes")->capture_default_str();
  app.add_option("--json", s.json, "where the numbers go")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (s.threads == 0) s.threads = static_cast<int>(bench::allowed_cpus().size());
  try {
    return run(s);
  } catch (const std::exception& e) {
    std::cerr << "\ncompare: " << e.what() << "\n";
    return 1;
  }
}
