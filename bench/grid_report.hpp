// What follows from the grid's cells taken together: relations between cells, plots, JSON.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grid_cells.hpp"
#include "support/measure.hpp"
#include "support/svg.hpp"
#include "support/text_table.hpp"

namespace bench {

struct grid_result {
  grid_cell what;
  std::string missing;        ///< why the cell was not measured, or empty
  measurement m;
  double target = 0;          ///< share of the limit to reach; 0: none
  gqa::isa isa = gqa::isa::portable;
  double plan_seconds = 0, update_seconds = 0;
  std::size_t workspace_bytes = 0;
  std::int64_t huge_page_bytes = 0;  ///< of the process, while the cell's caches were there

  [[nodiscard]] bool measured() const { return missing.empty(); }
  [[nodiscard]] bool reached() const { return target == 0 || m.ratio.median >= target; }
};

using grid_results = std::vector<grid_result>;

/// The measured cell that equals `c` after `change`, or null.
[[nodiscard]] inline const grid_result* find(const grid_results& all, cell c, const std::function<void(cell&)>& change) {
  change(c);
  for (const grid_result& r : all)
    if (r.measured() && describe(r.what.c) == describe(c)) return &r;
  return nullptr;
}

/// A demand on two cells: `value` has to be at least (or at most) `bound`.
struct relation {
  std::string name, subject;
  double value = 0, bound = 0;
  bool at_least = true;
  [[nodiscard]] bool holds() const { return at_least ? value >= bound : value <= bound; }
};

[[nodiscard]] inline std::vector<relation> relations_of(const grid_results& all) {
  std::vector<relation> out;
  for (const grid_result& r : all) {
    if (!r.measured()) continue;
    const cell& c = r.what.c;
    const double seconds = r.m.seconds.median;
    if (r.what.section == "decode" && c.layout == cache_layout::paged_token_major && c.page_size == 16)
      if (const auto* flat = find(all, c, [](cell& o) { o.layout = cache_layout::token_major; }))
        out.push_back({"paged (16) against contiguous", describe(c), seconds / flat->m.seconds.median, 1.05, false});
    if (c.batch > 1 && !c.one_by_one)
      if (const auto* parts = find(all, c, [](cell& o) { o.one_by_one = true; }))
        out.push_back({"ragged batch against its parts", describe(c), seconds / parts->m.seconds.median, 1.10, false});
    if (c.threads > 1)
      if (const auto* one = find(all, c, [](cell& o) { o.threads = 1; })) {
        const double gain = one->m.seconds.median / seconds, probe = one->m.limit_seconds / r.m.limit_seconds;
        out.push_back({"gain of threads against the probe's", describe(c), gain / probe, 0.9, true});
        out.push_back({"threads against one thread", describe(c), 1 / gain, 1.05, false});
      }
    if (r.what.section == "decode" && c.kv_len > 4096)
      if (const auto* shorter = find(all, c, [](cell& o) { o.kv_len = 4096; }))
        out.push_back({"time per token against 4096 tokens", describe(c),
                       seconds / static_cast<double>(c.kv_len) / (shorter->m.seconds.median / 4096), 1.10, false});
    if (r.what.section == "decode" && c.kv_len >= 4096)
      out.push_back({"update against a decode step", describe(c), r.update_seconds / seconds, 0.01, false});
  }
  return out;
}

/// A line of measured times and its dashed limit, over the cells that `pick` accepts at x.
inline void add_lines(svg::panel& p, const grid_results& all, const std::string& label, int colour,
                      const std::function<bool(const cell&)>& pick, const std::function<double(const cell&)>& x) {
  svg::series measured{label, svg::colours[colour], false, {}}, limit{label + ", limit", svg::colours[colour], true, {}};
  for (const grid_result& r : all)
    if (r.measured() && r.what.section == "decode" && pick(r.what.c)) {
      measured.points.emplace_back(x(r.what.c), 1e3 * r.m.seconds.median);
      limit.points.emplace_back(x(r.what.c), 1e3 * r.m.limit_seconds);
    }
  std::sort(measured.points.begin(), measured.points.end());
  std::sort(limit.points.begin(), limit.points.end());
  if (measured.points.empty()) return;
  p.lines.push_back(measured);
  p.lines.push_back(limit);
}

[[nodiscard]] inline bool is_plain(const cell& c) {
  return c.layout == cache_layout::token_major && c.k_type == gqa::element::f32;
}

/// tokens.svg, kv_heads.svg and threads.svg in `folder`; returns their paths.
inline std::vector<std::string> write_plots(const grid_results& all, const std::string& folder, int all_threads) {
  const std::string machine = "32 query heads x 128, decode, " + cpu_name();
  const std::string footer = "Limit: max(bytes / read bandwidth, flops / FMA peak), measured beside each point.";
  const std::vector<std::int64_t> heads = {32, 8, 4, 1};
  const auto head_label = [](std::int64_t h) { return h == 1 ? std::string("1 KV head") : std::to_string(h) + " KV heads"; };

  svg::figure tokens{"Time against tokens", machine + ", token-major f32; 512 tokens hot, the rest from memory", footer, {}};
  std::vector<int> counts = {1};
  if (all_threads > 1) counts.push_back(all_threads);
  for (int threads : counts) {
    svg::panel p{threads == 1 ? "1 thread" : std::to_string(threads) + " threads",
                 {"tokens", true, {512, 4096, 16384, 131072}}, {"ms per token and layer"}, {}};
    for (std::size_t i = 0; i < heads.size(); ++i)
      add_lines(p, all, head_label(heads[i]), static_cast<int>(i),
                [&](const cell& c) { return is_plain(c) && c.threads == threads && c.kv_heads == heads[i]; },
                [](const cell& c) { return static_cast<double>(c.kv_len); });
    tokens.panels.push_back(p);
  }

  svg::figure kv_heads{"Time against KV heads", machine + ", 4096 tokens from memory, 1 thread", footer, {}};
  for (gqa::element type : all_elements) {
    svg::panel p{gqa::name(type), {"KV heads", true, {1, 4, 8, 32}}, {"ms per token and layer"}, {}};
    int colour = 0;
    for (cache_layout layout : {cache_layout::token_major, cache_layout::tiled, cache_layout::paged_token_major})
      add_lines(p, all, layout == cache_layout::paged_token_major ? "paged, 16" : layout == cache_layout::tiled ? "tiled" : "token-major",
                colour++,
                [&](const cell& c) {
                  return c.layout == layout && c.k_type == type && c.threads == 1 && c.kv_len == 4096 && c.page_size == 16;
                },
                [](const cell& c) { return static_cast<double>(c.kv_heads); });
    if (!p.lines.empty()) kv_heads.panels.push_back(p);
  }

  svg::figure threads{"Time against threads", machine + ", 4096 tokens from memory, token-major f32", footer, {}};
  svg::panel p{"4096 tokens", {"threads", true, {1}}, {"ms per token and layer"}, {}};
  for (int t = 2; t < all_threads; t *= 2) p.x.ticks.push_back(t);
  if (all_threads > 1) p.x.ticks.push_back(all_threads);
  for (std::size_t i = 0; i < heads.size(); ++i)
    add_lines(p, all, head_label(heads[i]), static_cast<int>(i),
              [&](const cell& c) { return is_plain(c) && c.kv_len == 4096 && c.kv_heads == heads[i]; },
              [](const cell& c) { return static_cast<double>(c.threads); });
  threads.panels.push_back(p);

  const std::vector<std::string> paths = {folder + "/tokens.svg", folder + "/kv_heads.svg", folder + "/threads.svg"};
  svg::write(tokens, paths[0]);
  svg::write(kv_heads, paths[1]);
  svg::write(threads, paths[2]);
  return paths;
}

[[nodiscard]] inline nlohmann::json to_json(const quartiles& q, double scale = 1) {
  return {{"median", q.median * scale}, {"q1", q.low * scale}, {"q3", q.high * scale}};
}

[[nodiscard]] inline nlohmann::json to_json(const grid_result& r) {
  const cell& c = r.what.c;
  nlohmann::json j = {{"section", r.what.section}, {"name", describe(c)}, {"q_heads", c.q_heads}, {"kv_heads", c.kv_heads},
                      {"head_dim", c.head_dim}, {"v_head_dim", c.v_head_dim}, {"q_len", c.q_len}, {"kv_len", c.longest()},
                      {"batch", c.batch}, {"q_type", gqa::name(c.q_type)}, {"k_type", gqa::name(c.k_type)},
                      {"v_type", gqa::name(c.v_type)}, {"layout", name(c.layout)}, {"threads", c.threads}, {"hot", c.hot},
                      {"window", c.window}, {"sinks", c.sinks}, {"v_in_k", c.v_in_k}, {"one_by_one", c.one_by_one}};
  if (is_paged(c.layout)) j["page_size"] = c.page_size;
  if (!c.kv_lens.empty()) j["kv_lens"] = c.kv_lens;
  if (!r.measured()) {
    j["not_measured"] = r.missing;
    return j;
  }
  j["isa"] = gqa::name(r.isa);
  j["seconds"] = to_json(r.m.seconds);
  j["limit_ratio"] = to_json(r.m.ratio);
  j["limit_seconds"] = r.m.limit_seconds;
  j["bytes"] = r.m.amount.bytes;
  j["flops"] = r.m.amount.flops;
  j["read_GB/s"] = to_json(r.m.read_rate, 1e-9);
  j["fma_GFLOP/s"] = to_json(r.m.fma_rate, 1e-9);
  j["GB/s"] = r.m.bytes_per_second() / 1e9;
  j["GFLOP/s"] = r.m.flops_per_second() / 1e9;
  j["minor_faults"] = r.m.minor_faults;
  j["cpu_per_wall"] = r.m.cpu_per_wall;
  j["plan_seconds"] = r.plan_seconds;
  j["update_seconds"] = r.update_seconds;
  j["workspace_bytes"] = r.workspace_bytes;
  j["huge_page_bytes"] = r.huge_page_bytes;
  if (r.target > 0) j["target"] = r.target;
  j["attempts"] = r.m.attempts;
  j["flags"] = r.m.flags;
  return j;
}

}  // namespace bench
