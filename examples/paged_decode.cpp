// Decoding as an engine does it: a batch of sequences of different lengths in a paged cache, one plan for all layers
// and steps, updated as the sequences grow, in the engine's own threads and with its own workspace. Nothing allocates
// after the plan has been made, but for Eigen's pool, which allocates its tasks.
#include <cmath>
#include <cstdio>
#include <gqa/gqa.hpp>
#include <gqa/plan/executor_eigen.hpp>
#include <vector>

namespace {

constexpr std::int64_t layers = 2, q_heads = 16, kv_heads = 4, head_dim = 64, threads = 2, steps = 20;

/// Stands for a model's projections: some numbers that depend on where they are.
void fill(std::vector<float>& x, std::int64_t layer, std::int64_t step) {
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = std::sin(static_cast<float>(i % 1009) * 0.37f + static_cast<float>(layer * 100 + step));
}

}  // namespace

int main() {
  const std::vector<std::int64_t> prompt_lens = {5, 300, 48};
  const auto sequences = static_cast<std::int64_t>(prompt_lens.size());
  using cache_type = gqa::paged_kv_cache<gqa::f16>;
  const gqa::paged_kv_cache_spec cache_spec{.num_pages = 64,
                                            .page_size = 16,
                                            .sequences = sequences,
                                            .max_pages = 32,
                                            .kv_heads = kv_heads,
                                            .head_dim = head_dim,
                                            .v_head_dim = head_dim};
  std::vector<cache_type> caches;  // one a layer; all grow alike, so that one plan fits them all
  for (std::int64_t layer = 0; layer < layers; ++layer) caches.emplace_back(cache_spec);

  // The prompts' keys and values.
  for (std::int64_t layer = 0; layer < layers; ++layer)
    for (std::int64_t seq = 0; seq < sequences; ++seq) {
      const std::int64_t tokens = prompt_lens[static_cast<std::size_t>(seq)];
      std::vector<float> k(static_cast<std::size_t>(tokens * kv_heads * head_dim)), v(k.size());
      fill(k, layer, seq);
      fill(v, layer, seq + 1);
      caches[static_cast<std::size_t>(layer)].append(seq, k.data(), v.data(), tokens);
    }

  // Plan once. Lengths in the plan are those of the first step; the capacities below are what update may grow to.
  const gqa::attention_spec<gqa::heads<q_heads, kv_heads>, gqa::dims<head_dim>> spec;
  gqa::batch_spec batch;
  batch.size = sequences;
  batch.kv_lens = caches[0].lengths();
  gqa::plan_options options;
  options.shares = threads;
  options.max_kv_len = cache_spec.max_pages * cache_spec.page_size;
  gqa::attention_plan<gqa::types<float, gqa::f16, gqa::f16, float>, gqa::paged_layout> plan(
      spec, batch, caches[0].layout(), {}, options);
  std::vector<std::byte> workspace(plan.workspace_bytes());
  Eigen::ThreadPool pool(threads);
  gqa::eigen_executor executor(pool);
  std::printf("target %s, %lld shares, workspace %zu bytes\n", gqa::name(plan.target()),
              static_cast<long long>(plan.shares()), workspace.size());

  std::vector<float> q(static_cast<std::size_t>(sequences * q_heads * head_dim)), out(q.size());
  std::vector<float> k(static_cast<std::size_t>(kv_heads * head_dim)), v(k.size());
  for (std::int64_t step = 0; step < steps; ++step) {
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      cache_type& cache = caches[static_cast<std::size_t>(layer)];
      fill(q, layer, step);
      for (std::int64_t seq = 0; seq < sequences; ++seq) {
        fill(k, layer, step + seq);
        fill(v, layer, step - seq);
        cache.append(seq, k.data(), v.data(), 1);
      }
      // Lengths and page tables are the same in every layer: the first one updates the plan, the others only run it.
      if (layer == 0)
        if (const gqa::status s = plan.update(batch, cache.layout()); !s.ok()) {
          std::fprintf(stderr, "update: %s\n", s.message().c_str());
          return 1;
        }
      gqa::attention_io<gqa::types<float, gqa::f16, gqa::f16, float>> io;
      io.q = q.data();
      io.k = cache.k();
      io.v = cache.v();
      io.out = out.data();
      if (const gqa::status s = plan.run(io, workspace, executor); !s.ok()) {
        std::fprintf(stderr, "run: %s\n", s.message().c_str());
        return 1;
      }
    }
  }
  for (std::int64_t seq = 0; seq < sequences; ++seq)
    std::printf("sequence %lld: %lld tokens, out[0] = %.5f\n", static_cast<long long>(seq),
                static_cast<long long>(caches[0].length(seq)),
                static_cast<double>(out[static_cast<std::size_t>(seq * q_heads * head_dim)]));
}
