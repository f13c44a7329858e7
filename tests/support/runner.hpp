// Runs the library on a problem: any cache, target, number of shares and cut of the queries into chunks, through the
// plan and run that users call. Rows that nobody may write carry a canary.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <gqa/gqa.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "stored_cache.hpp"

namespace gqa_test {

/// How to compute, none of which may change a bit.
struct manner {
  cache_kind cache{};
  std::optional<gqa::isa> target{};
  std::int64_t shares = 1;
  std::int64_t chunk = 0;   ///< queries a call; 0: all at once
  double poison = nan;      ///< what unused cache bytes hold
  std::int64_t offset = 0;  ///< elements by which every pointer is off the allocation's alignment

  [[nodiscard]] std::string name() const {
    return cache.name() + ", " + (target ? gqa::name(*target) : "default isa") + ", shares " + std::to_string(shares) +
           (chunk == 0 ? ", one piece" : ", chunks of " + std::to_string(chunk));
  }
};

inline constexpr float canary =
    12345.0f;  ///< exact in every storage type's range; bf16 and f16 round it, alike each time

/// Output as [batch][q_len][q_heads]([v_head_dim]); rows past q_lens hold the canary.
template <class Out>
struct answer {
  std::vector<Out> out;
  std::vector<float> lse;

  [[nodiscard]] bool same_bits(const answer& other) const {
    return out.size() == other.out.size() && lse.size() == other.lse.size() &&
           (out.empty() || std::memcmp(out.data(), other.out.data(), out.size() * sizeof(Out)) == 0) &&
           (lse.empty() || std::memcmp(lse.data(), other.lse.data(), lse.size() * sizeof(float)) == 0);
  }
};

/// The inputs besides the cache, in the types the library takes.
template <class Types>
struct typed_inputs {
  explicit typed_inputs(const problem& p, std::int64_t pad = 0)
      : offset(pad), q(shifted(rounded<typename Types::q>(p.q))), sinks(shifted(rounded<float>(p.sinks))),
        slopes(shifted(rounded<float>(p.alibi_slopes))), bias(shifted(rounded<float>(p.bias))), mask(shifted(p.mask)) {}

  std::int64_t offset;
  std::vector<typename Types::q> q;
  std::vector<float> sinks, slopes, bias;
  std::vector<std::uint8_t> mask;

 private:
  template <class T>
  std::vector<T> shifted(std::vector<T> x) const {
    x.insert(x.begin(), static_cast<std::size_t>(offset), T{});
    if (x.empty()) x.push_back(T{});  // an empty tensor still has an address
    return x;
  }
};

namespace detail {

/// One call: queries [first, first + count) of every sequence, written to their rows of `a`.
template <class Types, class Layout, class Spec, class Executor>
void run_piece(const problem& p, const Spec& spec, const typename Types::k* k, const typename Types::v* v,
               const Layout& layout, const typed_inputs<Types>& in, const manner& m, std::int64_t first,
               std::int64_t count, Executor& executor, answer<typename Types::out>& a) {
  const auto n = static_cast<std::size_t>(p.batch);
  std::vector<std::int64_t> q_lens(n), kv_lens(n), q_start(n);
  for (std::size_t b = 0; b < n; ++b) {
    const std::int64_t begin = std::min(first, p.q_lens[b]);
    q_lens[b] = std::min(count, p.q_lens[b] - begin);
    q_start[b] = p.q_start[b] + begin;
    kv_lens[b] = p.spec.causal ? std::clamp<std::int64_t>(q_start[b] + q_lens[b], 0, p.kv_lens[b]) : p.kv_lens[b];
  }
  gqa::batch_spec batch;
  batch.size = p.batch;
  batch.q_lens = q_lens;
  batch.kv_lens = kv_lens;
  batch.q_start = q_start;

  const std::int64_t heads = p.q_heads(), dim = p.head_dim(), v_dim = p.v_head_dim(), plane = p.q_len * p.kv_len;
  gqa::tensor_layouts tensors;
  tensors.q = gqa::row_layout{p.q_len * heads * dim, heads * dim, dim, {}};
  tensors.out = gqa::row_layout{p.q_len * heads * v_dim, heads * v_dim, v_dim, {}};
  tensors.lse = gqa::row_layout{p.q_len * heads, heads, 1, {}};
  tensors.bias = {p.bias_heads * plane, p.bias_heads == 1 ? 0 : plane, p.kv_len, 1};
  tensors.mask = {plane, 0, p.kv_len, 1};
  gqa::plan_options options;
  options.shares = m.shares;
  options.target = m.target;

  gqa::attention_plan<Types, Layout> plan;
  gqa::status s = gqa::attention_plan<Types, Layout>::make(plan, spec, batch, layout, tensors, options);
  if (!s.ok()) throw std::runtime_error("plan (" + m.name() + "): " + s.message());

  gqa::attention_io<Types> io;
  io.q = in.q.data() + in.offset + first * heads * dim;
  io.k = k;
  io.v = v;
  io.out = a.out.data() + in.offset + first * heads * v_dim;
  if (p.spec.lse) io.lse = a.lse.data() + in.offset + first * heads;
  if (p.spec.bias) io.bias = in.bias.data() + in.offset + first * p.kv_len;
  if (p.spec.mask) io.mask = in.mask.data() + in.offset + first * p.kv_len;
  if (p.spec.alibi) io.alibi_slopes = in.slopes.data() + in.offset;
  if (p.spec.sinks) io.sinks = in.sinks.data() + in.offset;
  std::vector<std::byte> workspace(plan.workspace_bytes(), std::byte{0xff});
  s = plan.run(io, workspace, executor);
  if (!s.ok()) throw std::runtime_error("run (" + m.name() + "): " + s.message());
}

/// Removes `offset` elements in front and one behind; throws where one of them has been written.
template <class T>
void cut_canaries(std::vector<T>& x, std::int64_t offset) {
  const T intact = static_cast<T>(canary);
  const auto check = [&](const T& e) {
    if (std::memcmp(&e, &intact, sizeof(T)) != 0) throw std::runtime_error("written outside the output");
  };
  check(x.back());
  x.pop_back();
  for (std::int64_t i = 0; i < offset; ++i) check(x[static_cast<std::size_t>(i)]);
  x.erase(x.begin(), x.begin() + offset);
}

}  // namespace detail

/// The library's answer. `spec` may carry static counts; by default it is the problem's own.
/// Throws std::runtime_error where plan or run refuses.
template <class Types, class Spec, class Executor = gqa::sequential_executor>
[[nodiscard]] answer<typename Types::out> run_as(const problem& p, const Spec& spec,
                                                 const stored_cache<typename Types::k, typename Types::v>& cache,
                                                 const manner& m, Executor&& executor = {}) {
  const typed_inputs<Types> in(p, m.offset);
  answer<typename Types::out> a;  // with canaries around, cut off before it is returned
  a.out.assign(static_cast<std::size_t>(m.offset + p.rows() * p.v_head_dim() + 1),
               static_cast<typename Types::out>(canary));
  a.lse.assign(static_cast<std::size_t>(m.offset + (p.spec.lse ? p.rows() : 0) + 1), canary);
  const std::int64_t step = m.chunk == 0 ? std::max<std::int64_t>(p.q_len, 1) : m.chunk;
  for (std::int64_t first = 0; first == 0 || first < p.q_len; first += step)
    cache.visit([&](const auto& layout) {
      detail::run_piece<Types>(p, spec, cache.k(), cache.v(), layout, in, m, first, std::min(step, p.q_len - first),
                               executor, a);
    });
  detail::cut_canaries(a.out, m.offset);
  detail::cut_canaries(a.lse, m.offset);
  return a;
}

template <class Types, class Executor = gqa::sequential_executor>
[[nodiscard]] answer<typename Types::out> run(const problem& p, const manner& m, Executor&& executor = {}) {
  const stored_cache<typename Types::k, typename Types::v> cache(p, m.cache, m.poison, 3, m.offset);
  return run_as<Types>(p, p.spec, cache, m, executor);
}

}  // namespace gqa_test
