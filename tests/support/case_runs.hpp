// Which ways of computing a case are tried. For one choice of types every run on every target must give the same bits.
#pragma once

#include <gqa/isa/detect.hpp>
#include <optional>
#include <vector>

#include "bound.hpp"
#include "case_file.hpp"

namespace gqa_test {

inline const std::vector<cache_kind>& all_cache_kinds() {
  static const std::vector<cache_kind> kinds = {
      {order::token_major},         {order::head_major},      {order::tiled},          {order::token_major, 1},
      {order::head_major, 1},       {order::token_major, 16}, {order::head_major, 16}, {order::token_major, 7},
      {order::head_major, 7, true}, {order::tiled, 16, true}, {order::tiled, 32},
  };
  return kinds;
}

/// Chunk sizes worth a run: in one piece, a few chunks of uneven length, token by token.
[[nodiscard]] inline std::vector<std::int64_t> chunkings(std::int64_t q_len) {
  if (q_len <= 1) return {0};
  if (q_len == 2) return {0, 1};
  return {0, q_len / 3 + 1, 1};
}

/// Multiply-adds of one run.
[[nodiscard]] inline double cost(const problem& p) {
  return static_cast<double>(p.rows()) * static_cast<double>(p.kv_len) *
         static_cast<double>(p.head_dim() + p.v_head_dim());
}

/// Every layout x chunking x share count where they are affordable; else every layout once, with chunkings and share
/// counts taken in turn; for `few`, three of those.
[[nodiscard]] inline std::vector<manner> manners(const problem& p, std::optional<gqa::isa> target, bool slow,
                                                 bool few) {
  const std::vector<std::int64_t> chunks = chunkings(p.q_len), shares = {1, 2, 5};
  const std::vector<cache_kind>& kinds = all_cache_kinds();
  const double full_runs = static_cast<double>(kinds.size() * chunks.size() * shares.size());
  std::vector<manner> out;
  const auto add = [&](const cache_kind& kind, std::int64_t chunk, std::int64_t share) {
    manner m;
    m.cache = kind;
    m.target = target;
    m.chunk = chunk;
    m.shares = share;
    out.push_back(m);
  };
  if (full_runs * cost(p) <= (slow ? 3e7 : 3e9)) {
    for (const cache_kind& kind : kinds)
      for (std::int64_t chunk : chunks)
        for (std::int64_t share : shares) add(kind, chunk, share);
    return out;
  }
  for (std::size_t i = 0; i < kinds.size(); i += few ? 4 : 1)
    add(kinds[i], chunks[i % chunks.size()], shares[i / 3 % shares.size()]);
  return out;
}

struct case_result {
  comparison errors;
  std::int64_t runs = 0;
  std::string failure;  ///< empty: passed
};

/// All runs of one choice of types. `targets`: what to run on; an empty one leaves the choice to GQA_ISA.
template <class Types>
void run_case(const problem& question, const std::vector<std::optional<gqa::isa>>& targets, case_result& result) {
  using out = typename Types::out;
  const problem p = as_stored<typename Types::q, typename Types::k, typename Types::v>(question);
  const std::string name = std::string(gqa::name(gqa::element_of<typename Types::k>)) + " cache, " +
                           gqa::name(gqa::element_of<out>) + " out, ";
  std::optional<answer<out>> first;
  std::string first_name;
  for (const std::optional<gqa::isa>& target : targets) {
    gqa::isa chosen{};
    const bool slow = gqa::resolve_isa(target, chosen).ok() && chosen == gqa::isa::portable;
    for (const manner& m : manners(p, target, slow, slow && !std::is_same_v<out, float>)) {
      const answer<out> a = run<Types>(p, m);
      ++result.runs;
      if (!first) {
        first = a;
        first_name = m.name();
        const comparison c = compare(p, reference(p), a);
        if (!c.passed() && result.failure.empty()) result.failure = name + m.name() + ": " + c.where;
        result.errors.join(c);
      } else if (!a.same_bits(*first)) {
        const comparison c = compare(p, reference(p), a);
        result.errors.join(c);
        if (result.failure.empty())
          result.failure = name + m.name() + ": bits differ from " + first_name + (c.passed() ? "" : "; " + c.where);
      }
    }
  }
}

/// Largest difference between the float64 reference on the inputs as they are and the file's answer, relative to
/// max(1, |value|).
[[nodiscard]] inline double reference_error(const case_file& c) {
  const problem& p = c.question;
  const gqa::reference_result r = reference(p);
  double worst = 0;
  const auto add = [&](double got, double want) {
    if (got == want) return;
    const double error = std::abs(got - want) / std::max(1.0, std::abs(want));
    worst = std::isfinite(error) ? std::max(worst, error) : infinity;
  };
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_lens[static_cast<std::size_t>(b)]; ++i)
      for (std::int64_t h = 0; h < p.q_heads(); ++h) {
        const std::int64_t row = r.row(b, i, h);
        add(r.lse[row], c.lse[static_cast<std::size_t>(row)]);
        for (std::int64_t d = 0; d < p.v_head_dim(); ++d)
          add(r.out(row, d), c.out[static_cast<std::size_t>(row * p.v_head_dim() + d)]);
      }
  return worst;
}

}  // namespace gqa_test
