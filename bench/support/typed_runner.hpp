// The runners themselves, for the translation units that hold the instantiations.
#pragma once

#include <chrono>
#include <cstring>
#include <span>
#include <vector>

#include <gqa/plan/plan.hpp>

#include "runner.hpp"

namespace bench {

template <class Types, class Layout>
class typed_runner final : public runner {
  using plan_type = gqa::attention_plan<Types, Layout>;

 public:
  typed_runner(cell_memory& memory, worker_pool& pool) : memory_(&memory), pool_(&pool) {
    const cell& c = memory.of();
    const std::int64_t step = c.one_by_one ? 1 : c.batch;
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t first = 0; first < c.batch; first += step) add_plan(first, step);
    plan_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::size_t bytes = 0;
    for (const part& p : parts_) bytes = std::max(bytes, p.plan.workspace_bytes());
    workspace_ = pages(bytes + 4096, false);
    std::memset(workspace_.data(), 0, workspace_.size());  // faults belong to the set-up
  }

  gqa::status run(const std::byte* k, const std::byte* v) noexcept override {
    gqa::attention_io<Types> io;
    io.sinks = memory_->sinks();
    for (const part& p : parts_) {
      io.q = reinterpret_cast<const typename Types::q*>(memory_->q()) + p.q;
      io.k = reinterpret_cast<const typename Types::k*>(k) + p.k;
      io.v = reinterpret_cast<const typename Types::v*>(v) + p.v;
      io.out = reinterpret_cast<typename Types::out*>(memory_->out()) + p.out;
      GQA_TRY(p.plan.run(io, std::span(workspace_.data(), workspace_.size()), *pool_));
    }
    return {};
  }

  [[nodiscard]] gqa::isa target() const noexcept override { return parts_.front().plan.target(); }
  [[nodiscard]] std::size_t workspace_bytes() const noexcept override { return workspace_.size() - 4096; }

  [[nodiscard]] double update_seconds() noexcept override {
    const auto start = std::chrono::steady_clock::now();
    part& p = parts_.front();
    if (!p.plan.update(p.batch, std::get<Layout>(memory_->layout(0, p.batch.size))).ok()) return -1;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  struct part {
    plan_type plan;
    gqa::batch_spec batch;
    std::int64_t q = 0, k = 0, v = 0, out = 0;  // elements before this part's sequences
  };

  void add_plan(std::int64_t first, std::int64_t count) {
    const cell& c = memory_->of();
    const Layout layout = std::get<Layout>(memory_->layout(first, count));
    parts_.emplace_back();
    part& p = parts_.back();
    p.batch.size = count;
    p.batch.q_lens = c.q_len;
    p.batch.kv_lens = std::span<const std::int64_t>(memory_->lengths()).subspan(static_cast<std::size_t>(first));
    p.q = first * c.q_len * c.q_heads * c.head_dim;
    p.out = first * c.q_len * c.q_heads * c.v_head_dim;
    if (!is_paged(c.layout) && first > 0) {
      const gqa::kv_run run = std::get<gqa::contiguous_layout>(memory_->layout(0, c.batch)).run_at(first, 0);
      p.k = run.k;
      p.v = run.v;
    }
    gqa::plan_options options;
    options.shares = pool_->threads();
    options.target = c.target;
    gqa::throw_if_failed(plan_type::make(p.plan, c.spec(), p.batch, layout, {}, options));
  }

  cell_memory* memory_;
  worker_pool* pool_;
  std::vector<part> parts_;
  pages workspace_;
};

template <class Q, class K, class V>
[[nodiscard]] std::unique_ptr<runner> make_typed(cell_memory& memory, worker_pool& pool) {
  using types = gqa::types<Q, K, V, Q>;
  if (is_paged(memory.of().layout)) return std::make_unique<typed_runner<types, gqa::paged_layout>>(memory, pool);
  return std::make_unique<typed_runner<types, gqa::contiguous_layout>>(memory, pool);
}

template <class Q, class K>
[[nodiscard]] std::unique_ptr<runner> make_for_values(cell_memory& memory, worker_pool& pool) {
  switch (memory.of().v_type) {
    case gqa::element::f16: return make_typed<Q, K, gqa::f16>(memory, pool);
    case gqa::element::bf16: return make_typed<Q, K, gqa::bf16>(memory, pool);
    default: return make_typed<Q, K, float>(memory, pool);
  }
}

template <class Q>
[[nodiscard]] std::unique_ptr<runner> make_for_keys(cell_memory& memory, worker_pool& pool) {
  switch (memory.of().k_type) {
    case gqa::element::f16: return make_for_values<Q, gqa::f16>(memory, pool);
    case gqa::element::bf16: return make_for_values<Q, gqa::bf16>(memory, pool);
    default: return make_for_values<Q, float>(memory, pool);
  }
}

}  // namespace bench
