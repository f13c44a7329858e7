// The grid: every cell of grid_cells.hpp against the machine's limit, as a table, JSON and plots.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "grid_report.hpp"
#include "support/problem.hpp"

namespace {

using bench::number;
using bench::ratio;

struct settings {
  bool quick = false, list = false, huge_pages = false;
  int threads = 0;
  std::string only, folder = "grid";
};

bench::grid_result measure_cell(const bench::grid_cell& what, const settings& s) {
  bench::grid_result r;
  r.what = what;
  bench::measure_options options;
  options.burst_seconds = s.quick ? 0.02 : 0.04;
  options.attempts = s.quick ? 2 : 3;
  try {
    bench::problem p(what.c, bench::make_plain_runner);
    r.m = bench::measure(p, options);
    r.huge_page_bytes = bench::huge_page_bytes();
    if (s.huge_pages && r.huge_page_bytes == 0) r.m.flags.push_back("no huge pages");
    r.target = bench::target_of(what.c, r.m.amount, r.m.read_rate.median, r.m.fma_rate.median);
    r.isa = p.operation().target();
    r.plan_seconds = p.operation().plan_seconds;
    std::vector<double> updates;
    for (int i = 0; i < 9; ++i) updates.push_back(p.operation().update_seconds());
    r.update_seconds = bench::quartiles_of(updates).median;
    r.workspace_bytes = p.operation().workspace_bytes();
  } catch (const bench::no_memory& e) {
    r.missing = e.what();
  }
  return r;
}

std::string flags_of(const bench::grid_result& r) {
  std::string text;
  for (const std::string& f : r.m.flags) text += (text.empty() ? "" : ", ") + f;
  return text;
}

void print_table(const bench::grid_results& all) {
  std::string section;
  bench::text_table table({"cell", "ms", "limit", "ratio", "quartiles", "target", "GB/s", "GFLOP/s", "faults", "CPU/wall",
                           "plan, us", "update, us", "workspace", "flags"});
  for (const bench::grid_result& r : all) {
    if (r.what.section != section && !section.empty()) table.add_rule();
    section = r.what.section;
    if (!r.measured()) {
      table.add({describe(r.what.c), "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "not measured: " + r.missing});
      continue;
    }
    const bench::measurement& m = r.m;
    const std::string target = r.target == 0 ? "" : ratio(r.target) + (r.reached() ? "" : " missed");
    table.add({describe(r.what.c), number(1e3 * m.seconds.median), number(1e3 * m.limit_seconds), ratio(m.ratio.median),
               ratio(m.ratio.low) + "-" + ratio(m.ratio.high), target, number(m.bytes_per_second() / 1e9),
               number(m.flops_per_second() / 1e9), std::to_string(m.minor_faults), ratio(m.cpu_per_wall),
               number(1e6 * r.plan_seconds), number(1e6 * r.update_seconds),
               bench::byte_size(static_cast<double>(r.workspace_bytes)), flags_of(r)});
  }
  std::cout << table.render(1, true);
}

/// Each demand with its worst case, and every case that misses it.
void print_relations(const std::vector<bench::relation>& all) {
  std::vector<std::string> names;
  for (const bench::relation& r : all)
    if (std::find(names.begin(), names.end(), r.name) == names.end()) names.push_back(r.name);
  bench::text_table table({"relation", "bound", "cells", "hold", "worst", "where"});
  for (const std::string& name : names) {
    const bench::relation* worst = nullptr;
    int cells = 0, hold = 0;
    for (const bench::relation& r : all) {
      if (r.name != name) continue;
      ++cells;
      hold += r.holds();
      if (!worst || (r.at_least ? r.value < worst->value : r.value > worst->value)) worst = &r;
    }
    table.add({name, (worst->at_least ? ">= " : "<= ") + ratio(worst->bound), std::to_string(cells), std::to_string(hold),
               number(worst->value, 3), worst->subject});
  }
  if (!names.empty()) std::cout << "\n" << table.render(1, true);
}

void write_json(const bench::grid_results& all, const std::vector<bench::relation>& relations, const settings& s) {
  nlohmann::json j = {{"machine", bench::cpu_name()},
                      {"cpus", bench::allowed_cpus().size()},
                      {"last_level_cache_bytes", bench::last_level_cache_bytes()},
                      {"huge_pages", bench::huge_page_state()},
                      {"asks_for_huge_pages", s.huge_pages},
                      {"best_isa", gqa::name(gqa::best_isa())}};
  for (const bench::grid_result& r : all) j["cells"].push_back(to_json(r));
  for (const bench::relation& r : relations)
    j["relations"].push_back({{"name", r.name}, {"cell", r.subject}, {"value", r.value}, {"bound", r.bound}, {"holds", r.holds()}});
  const std::string path = s.folder + "/grid.json";
  std::ofstream file(path);
  file << j.dump(1) << "\n";
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

int run(const settings& s) {
  std::vector<bench::grid_cell> cells = bench::grid_builder(s.quick, s.threads).build();
  std::erase_if(cells, [&](const bench::grid_cell& c) {
    return (c.section + ": " + describe(c.c)).find(s.only) == std::string::npos;
  });
  for (bench::grid_cell& c : cells) c.c.huge_pages = s.huge_pages;
  if (s.list) {
    for (const bench::grid_cell& c : cells) std::cout << c.section << ": " << describe(c.c) << "\n";
    return 0;
  }
  std::filesystem::create_directories(s.folder);
  std::cout << bench::cpu_name() << ", " << bench::allowed_cpus().size() << " CPUs, best ISA " << gqa::name(gqa::best_isa())
            << ", last-level cache " << bench::byte_size(static_cast<double>(bench::last_level_cache_bytes()))
            << "\nhuge pages: " << bench::huge_page_state() << (s.huge_pages ? "; asked for under every cache" : "") << "\n\n";
  bench::grid_results results;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    std::cerr << "[" << i + 1 << "/" << cells.size() << "] " << cells[i].section << ": " << describe(cells[i].c) << " ... " << std::flush;
    results.push_back(measure_cell(cells[i], s));
    const bench::grid_result& r = results.back();
    if (r.measured())
      std::cerr << number(1e3 * r.m.seconds.median) << " ms, " << ratio(r.m.ratio.median) << " of the limit"
                << (r.reached() ? "" : ", target " + ratio(r.target)) << (r.m.flags.empty() ? "" : " (" + flags_of(r) + ")") << "\n";
    else
      std::cerr << "not measured: " << r.missing << "\n";
  }
  const std::vector<bench::relation> relations = bench::relations_of(results);
  print_table(results);
  print_relations(relations);
  const auto flagged = std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.m.flags.empty(); });
  const auto missed = std::count_if(results.begin(), results.end(), [](const auto& r) { return r.measured() && !r.reached(); });
  const auto absent = std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.measured(); });
  std::cout << "\n" << results.size() << " cells: " << missed << " below their target, " << flagged << " flagged, " << absent
            << " not measured\n";
  write_json(results, relations, s);
  std::cout << "\nNumbers  " << s.folder << "/grid.json\n";
  for (const std::string& path : bench::write_plots(results, s.folder, s.threads)) std::cout << "Plot     " << path << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  CLI::App app("Measures the grid of cells against the machine's limits.");
  app.add_flag("--quick", s.quick, "a part of the grid, in under 5 minutes");
  app.add_flag("--list", s.list, "name the cells and stop");
  app.add_option("--only", s.only, "only cells whose name (as --list prints it) contains this");
  app.add_flag("--huge-pages", s.huge_pages, "ask for transparent huge pages under the caches");
  app.add_option("--threads", s.threads, "what \"all threads\" means; 0: all this process may use")->check(CLI::Range(0, 4096));
  app.add_option("--out", s.folder, "folder for JSON and plots")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (s.threads == 0) s.threads = static_cast<int>(bench::allowed_cpus().size());
  try {
    return run(s);
  } catch (const std::exception& e) {
    std::cerr << "\ngrid: " << e.what() << "\n";
    return 1;
  }
}
