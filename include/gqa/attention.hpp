// The operator in one line: plan, allocate a workspace, run. Engines that decode step after step keep an attention_plan
// (plan/plan.hpp) and call update and run instead.
#pragma once

#include <memory>
#include <new>
#include <utility>

#include "plan/plan.hpp"

GQA_NAMESPACE_BEGIN

/// Attention of a batch over a cache, in `executor`'s threads. Allocates the plan and the workspace.
/// Errors: whatever attention_plan::make and run refuse, and out_of_memory; then nothing has been written.
template <class Types, kv_layout Layout, class Heads, class Dims, executor E = sequential_executor>
[[nodiscard]] status try_attend(const attention_spec<Heads, Dims>& spec, const batch_spec& batch, const Layout& layout,
                                const attention_io<Types>& io, const tensor_layouts& tensors = {},
                                const plan_options& options = {}, E&& executor = {}) noexcept {
  attention_plan<Types, Layout> plan;
  GQA_TRY((attention_plan<Types, Layout>::make(plan, spec, batch, layout, tensors, options)));
  const std::size_t bytes = plan.workspace_bytes();
  const std::unique_ptr<std::byte[]> workspace(new (std::nothrow) std::byte[bytes]);
  if (!workspace)
    return failure(errc::out_of_memory, "workspace_bytes", static_cast<std::int64_t>(bytes),
                   "a workspace that fits memory");
  return plan.run(io, {workspace.get(), bytes}, executor);
}

#if GQA_EXCEPTIONS
/// The same, throwing gqa::error.
template <class Types, kv_layout Layout, class Heads, class Dims, executor E = sequential_executor>
void attend(const attention_spec<Heads, Dims>& spec, const batch_spec& batch, const Layout& layout,
            const attention_io<Types>& io, const tensor_layouts& tensors = {}, const plan_options& options = {},
            E&& executor = {}) {
  throw_if_failed(try_attend(spec, batch, layout, io, tensors, options, executor));
}

/// The shortest form: dense q and out, a cache's view, nothing optional.
template <class Heads, class Dims, storage Q, storage K, storage V, storage Out, kv_layout Layout>
void attend(const attention_spec<Heads, Dims>& spec, const batch_spec& batch, const kv_view<K, V, Layout>& kv,
            const Q* q, Out* out) {
  attention_io<types<Q, K, V, Out>> io;
  io.q = q;
  io.k = kv.k;
  io.v = kv.v;
  io.out = out;
  attend(spec, batch, kv.layout, io);
}
#endif

GQA_NAMESPACE_END
