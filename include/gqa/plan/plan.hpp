// Plan once, run many times. A plan takes what all layers of a step share (counts, types, strides, lengths, page
// tables, features), checks it, cuts the work and picks the kernels. Run takes one layer's pointers; it allocates
// nothing.
//
//   attention_plan<types<float>, contiguous_layout> plan(spec, batch, layout);     // throws gqa::error
//   std::vector<std::byte> workspace(plan.workspace_bytes());
//   plan.run(io, workspace, executor);                                             // returns a status
//   plan.update(next_batch, layout);                                               // the next step; allocates nothing
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "../base/status.hpp"
#include "../isa/detect.hpp"
#include "../isa/float_state.hpp"
#include "../kernel/table.hpp"
#if !defined(GQA_EXTERN_KERNELS)  // kernel/instantiate.hpp
#include "../kernel/kernels_for.hpp"
#endif
#include "../kv/layout.hpp"
#include "attend_unit.hpp"
#include "check.hpp"
#include "executor.hpp"
#include "merge_units.hpp"
#include "request.hpp"

#if !defined(GQA_PROCESSOR_TRAITS)  // a test takes other machines'
#define GQA_PROCESSOR_TRAITS(target) detail::traits_of(detail::this_machine(), target)
#endif

GQA_NAMESPACE_BEGIN

/// Immutable while it runs; concurrent runs of one plan need only separate workspaces. The page table and the arrays of
/// first positions inside `layout` must stay unchanged until the next update. The first_token arrays of `tensors` are
/// read again by every update: they must outlive the plan. The arrays of `batch` are copied.
template <class Types, kv_layout Layout>
class attention_plan {
 public:
  attention_plan() = default;  ///< empty: run refuses

#if GQA_EXCEPTIONS
  template <class Heads, class Dims>
  attention_plan(const attention_spec<Heads, Dims>& spec, const batch_spec& batch, const Layout& layout,
                 const tensor_layouts& tensors = {}, const plan_options& options = {}) {
    throw_if_failed(make(*this, spec, batch, layout, tensors, options));
  }
#endif

  /// Checks everything and makes `plan` ready to run; on an error `plan` is left as it was.
  /// Errors: counts that do not divide or lie outside their range, lengths past the layout's capacity or that no query
  /// could have, page ids outside the pool, strides or sizes that overflow, outputs whose rows overlap, a target the
  /// machine lacks, memory.
  template <class Heads, class Dims>
  [[nodiscard]] static status make(attention_plan& plan, const attention_spec<Heads, Dims>& spec,
                                   const batch_spec& batch, const Layout& layout, const tensor_layouts& tensors = {},
                                   const plan_options& options = {}) noexcept {
    attention_plan p;
    GQA_TRY(p.prepare(erase_counts(spec), batch, layout, tensors, options));
    GQA_TRY(p.update(batch, layout));
    plan = std::move(p);
    return {};
  }

  /// New lengths, pages and strides of the same kind, within the planned capacities. Allocates nothing; on an error the
  /// plan keeps what it had.
  [[nodiscard]] status update(const batch_spec& batch, const Layout& layout) noexcept {
    if (!starts_) return failure(errc::not_planned, "plan", 0, "a plan made before");
    GQA_TRY(layout.check(spec_.heads.kv_heads, spec_.dims.head_dim, spec_.dims.v_head_dim));
    if (layout.order() != layout_.order())
      return failure(errc::invalid_argument, "layout", static_cast<std::int64_t>(layout.order()),
                     "the planned key order");
    GQA_TRY(detail::check_batch(spec_, batch, layout, capacity_));
    extents e;
    const std::int64_t longest = detail::longest_q_len(batch), heads = spec_.heads.q_heads;
    const row_layout q = detail::resolve(tensors_.q, longest, heads, spec_.dims.head_dim);
    const row_layout out = detail::resolve(tensors_.out, longest, heads, spec_.dims.v_head_dim);
    const row_layout lse = detail::resolve(tensors_.lse, longest, heads, 1);
    GQA_TRY(detail::check_rows("q", q, batch, heads, spec_.dims.head_dim, false, sorted_.get(), e.q));
    GQA_TRY(detail::check_rows("out", out, batch, heads, spec_.dims.v_head_dim, true, sorted_.get(), e.out));
    if (spec_.lse) GQA_TRY(detail::check_rows("lse", lse, batch, heads, 1, true, sorted_.get(), e.lse));
    if (spec_.bias) GQA_TRY(detail::check_scores("bias", tensors_.bias, batch, heads, e.bias));
    if (spec_.mask) GQA_TRY(detail::check_scores("mask", tensors_.mask, batch, heads, e.mask));
    e.k = layout.k_extent(spec_.heads.kv_heads, spec_.dims.head_dim).value;
    e.v = layout.v_extent(spec_.heads.kv_heads, spec_.dims.v_head_dim).value;

    // Everything is known to be good: only now does the plan change.
    layout_ = layout;
    extents_ = e;
    inputs_.k_head = layout.k_strides().head;
    inputs_.v_head = layout.v_strides().head;
    inputs_.q_strides = copy_strides(q, batch.size, 0);
    inputs_.out_strides = copy_strides(out, batch.size, 1);
    if (spec_.lse) inputs_.lse_strides = copy_strides(lse, batch.size, 2);
    cut(batch);
    return {};
  }

  /// Bytes a run needs; plan/workspace.hpp has the formula. Any alignment will do.
  [[nodiscard]] std::size_t workspace_bytes() const noexcept { return static_cast<std::size_t>(shape_.bytes().value); }
  [[nodiscard]] isa target() const noexcept { return inputs_.kernels ? inputs_.kernels->target : isa::portable; }
  [[nodiscard]] std::int64_t shares() const noexcept { return shape_.shares; }

  /// Attention of one layer. Writes rows of out (and lse) of existing queries only.
  /// Errors: no plan, a null, misaligned or unexpected pointer, a workspace too small, outputs or workspace that
  /// overlap an input; then nothing has been written.
  template <executor E>
  [[nodiscard]] status run(const attention_io<Types>& io, std::span<std::byte> workspace, E&& executor) const noexcept {
    GQA_TRY(check_run(io, workspace));
    detail::step_inputs inputs = inputs_;
    inputs.q = reinterpret_cast<const char*>(io.q);
    inputs.k = reinterpret_cast<const char*>(io.k);
    inputs.v = reinterpret_cast<const char*>(io.v);
    inputs.out = reinterpret_cast<char*>(io.out);
    inputs.lse = io.lse;
    inputs.bias = io.bias;
    inputs.mask = io.mask;
    inputs.alibi_slopes = io.alibi_slopes;
    inputs.sinks = io.sinks;
    const step s{*this, inputs, workspace.data()};
    const std::int64_t shares = shape_.shares;
    executor.parallel_for(shares, [&s](std::int64_t share) noexcept { s.attend(share); });
    if (has_split_units_) executor.parallel_for(shares, [&s](std::int64_t item) noexcept { s.merge(item); });
    return {};
  }

 private:
  /// Elements each tensor spans.
  struct extents {
    std::int64_t q = 0, k = 0, v = 0, out = 0, lse = 0, bias = 0, mask = 0;
  };

  /// What the items of one run share.
  struct step {
    const attention_plan& plan;
    const detail::step_inputs& inputs;
    std::byte* workspace;

    void attend(std::int64_t share) const noexcept {
      const default_float_state float_state;
      detail::scratch work(workspace, plan.shape_, share);
      work.pending[0]->count = work.pending[1]->count = 0;
      const detail::cursor end = plan.starts_[share + 1];
      for (detail::cursor c = plan.starts_[share]; c != end; c = plan.line_.next_unit(c)) {
        const detail::unit u = plan.line_.unit_at(c);
        const bool ends_here = !c.same_unit(end);
        const std::int64_t last = ends_here ? plan.line_.cells(u) : end.cell;
        const int region = c.cell > 0 ? 0 : 1;
        detail::unit_walk<Layout> walk(inputs, plan.line_, plan.layout_, u, work);
        walk.run(c.cell, last, region);
        if (c.cell == 0 && ends_here) {
          detail::finish_unit(inputs, plan.line_, u, work, region);
          work.pending[region]->count = 0;
        }
        if (!ends_here) break;
      }
    }

    void merge(std::int64_t item) const noexcept {
      const default_float_state float_state;
      detail::split_units(inputs, plan.line_, plan.starts_.get(), plan.shape_.shares, workspace, plan.shape_)
          .finish(item);
    }
  };

  [[nodiscard]] status prepare(const dynamic_spec& spec, const batch_spec& batch, const Layout& layout,
                               const tensor_layouts& tensors, const plan_options& options) noexcept {
    const default_float_state float_state;  // constants do not depend on the caller's rounding either
    GQA_TRY(check(spec));
    GQA_TRY(layout.check(spec.heads.kv_heads, spec.dims.head_dim, spec.dims.v_head_dim));
    isa target = isa::portable;
    GQA_TRY(resolve_isa(options.target, target));
    if (options.shares < 1) return failure(errc::invalid_argument, "shares", options.shares, "at least 1");
    if (batch.size < 0)
      return failure(errc::invalid_argument, "batch", batch.size, "a number of sequences of at least 0");
    if (batch.size > layout.sequences())
      return failure_bound(errc::out_of_range, "batch", batch.size, "at most the cache's sequences",
                           layout.sequences());
    if (options.max_batch < 0) return failure(errc::invalid_argument, "max_batch", options.max_batch, "at least 0");
    if (options.max_q_len < 0) return failure(errc::invalid_argument, "max_q_len", options.max_q_len, "at least 0");
    if (options.max_kv_len < 0) return failure(errc::invalid_argument, "max_kv_len", options.max_kv_len, "at least 0");
    spec_ = spec;
    tensors_ = tensors;
    layout_ = layout;
    capacity_ = options;
    if (capacity_.max_batch == 0) capacity_.max_batch = batch.size;
    if (capacity_.max_q_len == 0 && batch.q_lens.covers(batch.size)) capacity_.max_q_len = detail::longest_q_len(batch);
    if (capacity_.max_kv_len == 0)
      for (std::int64_t b = 0; b < layout.sequences(); ++b)
        capacity_.max_kv_len = std::max<std::int64_t>(capacity_.max_kv_len, layout.end_position(b));

    set_constants(kernels_for<element_of<typename Types::q>, element_of<typename Types::k>,
                              element_of<typename Types::v>, element_of<typename Types::out>>(target));
    const checked row_bytes = checked(spec.heads.q_heads) * std::max(spec.dims.head_dim, spec.dims.v_head_dim) * 8;
    if (row_bytes.overflowed)
      return failure(errc::overflow, "q_heads", spec.heads.q_heads, "a count whose rows of q and out fit in 63 bits");
    if ((row_bytes * capacity_.max_q_len).overflowed)
      return failure(errc::overflow, "max_q_len", capacity_.max_q_len, "a length whose q and out fit in 63 bits");
    shape_.shares = options.shares;
    shape_.rows = detail::max_unit_rows(spec.heads.q_heads, group(), capacity_.max_q_len);
    shape_.heads = spec.heads.kv_heads;
    shape_.padded_dim = inputs_.padded_dim;
    shape_.v_stride = inputs_.v_stride;
    shape_.states = max_pending(divide_up(capacity_.max_kv_len, chunk_tokens));
    if (shape_.bytes().overflowed)
      return failure(errc::overflow, "shares", options.shares, "shares whose workspace fits in 63 bits");

    const checked items = checked(capacity_.max_batch) * 64 + checked(options.shares) * 64;
    if (items.overflowed) return failure(errc::overflow, "max_batch", capacity_.max_batch, "a batch that fits memory");
    const auto n = static_cast<std::size_t>(capacity_.max_batch);
    sequences_.reset(new (std::nothrow) detail::sequence_work[n]);
    starts_.reset(new (std::nothrow) detail::cursor[static_cast<std::size_t>(options.shares) + 1]);
    first_tokens_.reset(new (std::nothrow) std::int64_t[3 * n]);
    sorted_.reset(new (std::nothrow) std::int64_t[n]);
    if (!sequences_ || !starts_ || !first_tokens_ || !sorted_)
      return failure(errc::out_of_memory, "max_batch", capacity_.max_batch, "a batch that fits memory");
    return {};
  }

  void set_constants(const kernel_table* kernels) noexcept {
    inputs_.kernels = kernels;
    inputs_.processor = GQA_PROCESSOR_TRAITS(kernels->target);
    inputs_.head_dim = spec_.dims.head_dim;
    inputs_.v_head_dim = spec_.dims.v_head_dim;
    inputs_.padded_dim = round_up(spec_.dims.head_dim, score_lanes);
    inputs_.v_stride = round_up(spec_.dims.v_head_dim, 16);
    inputs_.scale =
        static_cast<float>(spec_.scale ? *spec_.scale : 1.0 / std::sqrt(static_cast<double>(spec_.dims.head_dim)));
    inputs_.softcap = static_cast<float>(spec_.softcap);
    inputs_.inverse_softcap = spec_.softcap > 0 ? static_cast<float>(1.0 / spec_.softcap) : 0.0f;
    inputs_.modifies = spec_.softcap > 0 || spec_.alibi || spec_.bias;
    inputs_.q_bytes = sizeof(typename Types::q);
    inputs_.k_bytes = sizeof(typename Types::k);
    inputs_.v_bytes = sizeof(typename Types::v);
    inputs_.out_bytes = sizeof(typename Types::out);
    inputs_.bias_layout = tensors_.bias;
    inputs_.mask_layout = tensors_.mask;
  }

  [[nodiscard]] std::int64_t group() const noexcept { return spec_.heads.q_heads / spec_.heads.kv_heads; }

  [[nodiscard]] detail::row_strides copy_strides(const row_layout& l, std::int64_t size, std::int64_t which) noexcept {
    detail::row_strides s{l.batch, l.token, l.head, nullptr};
    if (!l.first_token.present()) return s;
    std::int64_t* const copy = first_tokens_.get() + which * capacity_.max_batch;
    for (std::int64_t b = 0; b < size; ++b) copy[b] = l.first_token[b];
    s.first_token = copy;
    return s;
  }

  void cut(const batch_spec& batch) noexcept {
    const std::int64_t kv_heads = spec_.heads.kv_heads;
    const kv_strides k = layout_.k_strides();
    line_ = {sequences_.get(), batch.size, kv_heads, group(), {spec_.causal, spec_.window, spec_.sink_tokens}};
    std::int64_t cells = 0;
    for (std::int64_t b = 0; b < batch.size; ++b) {
      const detail::sequence_work lengths = detail::lengths_of(batch, b);
      sequences_[b] = detail::cut(lengths.q_len, group(),
                                  detail::heads_together(kv_heads, lengths.q_len * group(), inputs_.k_bytes,
                                                         layout_.order(), k.head < k.token, inputs_.processor));
      sequences_[b].kv_len = lengths.kv_len;
      sequences_[b].q_start = lengths.q_start;
      if (lengths.q_len > 0) cells += line_.parts(b) * line_.tiles(b) * line_.cells(line_.unit_at({b, 0, 0, 0}));
    }
    // Too few chunks for all shares: fewer heads a unit make more cells. Where heads divide evenly, whole units do, and
    // spare the second pass.
    if (cells < 2 * shape_.shares)
      for (std::int64_t b = 0; b < batch.size; ++b) {
        const std::int64_t heads = sequences_[b].unit_heads;
        sequences_[b].unit_heads =
            heads % shape_.shares == 0
                ? heads / shape_.shares
                : std::max<std::int64_t>(heads * std::max<std::int64_t>(cells, 1) / (2 * shape_.shares), 1);
      }
    line_.share(starts_.get(), shape_.shares);
    has_split_units_ = false;
    for (std::int64_t i = 0; i < shape_.shares; ++i) has_split_units_ = has_split_units_ || starts_[i].cell > 0;
  }

  [[nodiscard]] status check_run(const attention_io<Types>& io, std::span<std::byte> workspace) const noexcept {
    if (!starts_) return failure(errc::not_planned, "plan", 0, "a plan made before");
    using std::int64_t;
    constexpr int64_t q_bytes = sizeof(*io.q), k_bytes = sizeof(*io.k), v_bytes = sizeof(*io.v),
                      o_bytes = sizeof(*io.out);
    const int64_t heads_bytes = spec_.heads.q_heads * 4;
    const detail::span_bytes read[] = {{"q", io.q, extents_.q * q_bytes, q_bytes, true},
                                       {"k", io.k, extents_.k * k_bytes, k_bytes, true},
                                       {"v", io.v, extents_.v * v_bytes, v_bytes, true},
                                       {"bias", io.bias, extents_.bias * 4, 4, spec_.bias},
                                       {"mask", io.mask, extents_.mask, 1, spec_.mask},
                                       {"alibi_slopes", io.alibi_slopes, heads_bytes, 4, spec_.alibi},
                                       {"sinks", io.sinks, heads_bytes, 4, spec_.sinks}};
    const detail::span_bytes written[] = {
        {"out", io.out, extents_.out * o_bytes, o_bytes, true},
        {"lse", io.lse, extents_.lse * 4, 4, spec_.lse},
        {"workspace", workspace.data(), static_cast<int64_t>(workspace.size()), 1, true}};
    if (workspace.size() < workspace_bytes())
      return failure_bound(errc::out_of_range, "workspace", static_cast<int64_t>(workspace.size()),
                           "at least workspace_bytes()", static_cast<int64_t>(workspace_bytes()));
    return detail::check_tensors(read, written);
  }

  dynamic_spec spec_;
  tensor_layouts tensors_;
  Layout layout_{};
  plan_options capacity_;
  extents extents_;
  detail::step_inputs inputs_;
  detail::workspace_shape shape_;
  detail::work_line line_;
  bool has_split_units_ = false;
  std::unique_ptr<detail::sequence_work[]> sequences_;
  std::unique_ptr<detail::cursor[]> starts_;
  std::unique_ptr<std::int64_t[]> first_tokens_;
  std::unique_ptr<std::int64_t[]> sorted_;
};

GQA_NAMESPACE_END
