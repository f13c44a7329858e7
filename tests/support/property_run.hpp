// A problem computed in a way drawn at random: any cache (contiguous in every order of its axes, with gaps; pages;
// tiles), cut of the queries, number of shares, executor, target, alignment and contents of bytes that hold no token.
#pragma once

#include <numeric>
#include <thread>

#include "property.hpp"
#include "runner.hpp"

namespace gqa_test {

/// Items in an order and in threads that no sane pool would choose.
struct any_executor {
  enum class kind { in_order, backwards, scrambled, threads } how = kind::in_order;
  std::int64_t threads = 1;

  template <class F>
  void parallel_for(std::int64_t n, F f) const {
    switch (how) {
      case kind::in_order:
        for (std::int64_t i = 0; i < n; ++i) f(i);
        return;
      case kind::backwards:
        for (std::int64_t i = n; i-- > 0;) f(i);
        return;
      case kind::scrambled: {  // a step prime to n visits every item once
        std::int64_t step = n / 2 + 1;
        while (std::gcd(step, n) != 1) ++step;
        for (std::int64_t i = 0; i < n; ++i) f((i * step + n / 3) % n);
        return;
      }
      case kind::threads: {
        std::vector<std::thread> all;
        for (std::int64_t t = 0; t < std::min(threads, n); ++t)
          all.emplace_back([f, t, n, step = threads] {
            for (std::int64_t i = t; i < n; i += step) f(i);
          });
        for (std::thread& t : all) t.join();
        return;
      }
    }
  }
};

/// K and V contiguous, axes batch, token and head in any order of memory, each with a gap behind it.
template <class K, class V>
class strided_cache {
 public:
  strided_cache(const problem& p, int k_order, int v_order, std::int64_t gap, std::int64_t offset, double poison) {
    const std::int64_t room = p.tokens() + gap;
    const axes k = place(p, k_order, room, p.head_dim(), gap), v = place(p, v_order, room, p.v_head_dim(), gap);
    layout_ = {p.batch, room, {k.token, k.head}, k.batch, {v.token, v.head}, v.batch};
    store(k_, p, p.k, p.head_dim(), k, offset, poison);
    store(v_, p, p.v, p.v_head_dim(), v, offset, poison);
    offset_ = offset;
  }
  [[nodiscard]] const K* k() const { return k_.data() + offset_; }
  [[nodiscard]] const V* v() const { return v_.data() + offset_; }
  template <class F>
  decltype(auto) visit(F&& f) const {
    return f(layout_);
  }

 private:
  struct axes {
    std::int64_t batch = 0, token = 0, head = 0, size = 0;
  };
  static axes place(const problem& p, int order, std::int64_t room, std::int64_t dim, std::int64_t gap) {
    axes a;
    std::int64_t* const stride[3] = {&a.batch, &a.token, &a.head};
    const std::int64_t count[3] = {p.batch, room, p.kv_heads()};
    static constexpr int orders[6][3] = {{2, 1, 0}, {1, 2, 0}, {2, 0, 1}, {0, 2, 1}, {1, 0, 2}, {0, 1, 2}};
    a.size = dim + gap;
    for (const int axis : orders[order]) {  // innermost first
      *stride[axis] = a.size;
      a.size = a.size * std::max<std::int64_t>(count[axis], 1) + gap;
    }
    return a;
  }
  template <class T>
  static void store(std::vector<T>& to, const problem& p, const std::vector<double>& from, std::int64_t dim,
                    const axes& a, std::int64_t offset, double poison) {
    to.assign(static_cast<std::size_t>(a.size + offset), static_cast<T>(static_cast<float>(poison)));
    for (std::int64_t b = 0; b < p.batch; ++b)
      for (std::int64_t j = 0; j < p.kv_lens[static_cast<std::size_t>(b)]; ++j)
        for (std::int64_t g = 0; g < p.kv_heads(); ++g)
          for (std::int64_t d = 0; d < dim; ++d)
            to[static_cast<std::size_t>(offset + b * a.batch + j * a.token + g * a.head + d)] = static_cast<T>(
                static_cast<float>(from[static_cast<std::size_t>(((b * p.kv_len + j) * p.kv_heads() + g) * dim + d)]));
  }

  std::int64_t offset_ = 0;
  std::vector<K> k_;
  std::vector<V> v_;
  gqa::contiguous_layout layout_;
};

struct way {
  manner how;  ///< `chunk` is not used
  any_executor executor;
  std::vector<std::int64_t> cuts;  ///< queries at which a new call begins
  int strides = -1;                ///< 6 * order of K + order of V of a strided cache; -1: how.cache
  std::int64_t gap = 0;

  [[nodiscard]] std::string name() const {
    return how.name() + ", executor " + std::to_string(static_cast<int>(executor.how)) + " with " +
           std::to_string(executor.threads) + " threads, offset " + std::to_string(how.offset) + ", " +
           std::to_string(cuts.size()) + " cuts, strides " + std::to_string(strides) + ", poison " +
           std::to_string(how.poison);
  }
};

[[nodiscard]] inline way draw_way(random_source& draw, const problem& p) {
  const auto one_in = [&](std::int64_t n) { return draw.between(1, n) == 1; };
  way w;
  if (one_in(3)) {
    w.strides = static_cast<int>(draw.between(0, 35));
    w.gap = draw.between(0, 5);
  } else {
    w.how.cache.inside = static_cast<order>(draw.between(0, 2));
    if (!one_in(3))
      w.how.cache.page_size = w.how.cache.inside == order::tiled ? 16 * draw.between(1, one_in(4) ? 20 : 3)
                                                                 : draw.between(1, one_in(4) ? 300 : 40);
    w.how.cache.csr = one_in(2);
  }
  w.how.shares = one_in(4) ? draw.between(1, 64) : draw.between(1, 6);
  w.executor.how = static_cast<any_executor::kind>(draw.between(0, 3));
  w.executor.threads = draw.between(1, 16);
  w.how.offset = one_in(2) ? 0 : draw.between(1, 31);
  const double fillers[] = {nan, infinity, -infinity, 3e38, 0};
  w.how.poison = fillers[draw.between(0, 4)];
  if (p.q_len > 1 && one_in(2)) {
    const bool token_by_token = one_in(4);
    for (std::int64_t i = 1; i < p.q_len; ++i)
      if (token_by_token || one_in(4)) w.cuts.push_back(i);
  }
  for (const gqa::isa target : gqa::all_isas)
    if (gqa::is_supported(target) && (target != gqa::isa::portable || one_in(4)) && one_in(2)) w.how.target = target;
  return w;
}

namespace detail {
template <class Types, class Spec, class Cache>
[[nodiscard]] answer<typename Types::out> run_way_on(const problem& p, const Spec& spec, const Cache& cache,
                                                     const way& w) {
  const typed_inputs<Types> in(p, w.how.offset);
  answer<typename Types::out> a;
  a.out.assign(static_cast<std::size_t>(w.how.offset + p.rows() * p.v_head_dim() + 1),
               static_cast<typename Types::out>(canary));
  a.lse.assign(static_cast<std::size_t>(w.how.offset + (p.spec.lse ? p.rows() : 0) + 1), canary);
  std::vector<std::int64_t> ends = w.cuts;
  ends.push_back(p.q_len);
  std::int64_t first = 0;
  for (const std::int64_t end : ends) {
    cache.visit([&](const auto& layout) {
      run_piece<Types>(p, spec, cache.k(), cache.v(), layout, in, w.how, first, end - first, w.executor, a);
    });
    first = end;
  }
  cut_canaries(a.out, w.how.offset);
  cut_canaries(a.lse, w.how.offset);
  return a;
}
}  // namespace detail

/// The library's answer, computed that way. `spec` may carry static counts.
template <class Types, class Spec>
[[nodiscard]] answer<typename Types::out> run_way(const problem& p, const Spec& spec, const way& w) {
  using K = typename Types::k;
  using V = typename Types::v;
  if (w.strides >= 0)
    return detail::run_way_on<Types>(
        p, spec, strided_cache<K, V>(p, w.strides / 6, w.strides % 6, w.gap, w.how.offset, w.how.poison), w);
  return detail::run_way_on<Types>(p, spec, stored_cache<K, V>(p, w.how.cache, w.how.poison, 3, w.how.offset), w);
}
template <class Types>
[[nodiscard]] answer<typename Types::out> run_way(const problem& p, const way& w) {
  return run_way<Types>(p, p.spec, w);
}

using all_f32 = gqa::types<float, float, float, float>;
using mixed = gqa::types<float, gqa::f16, gqa::bf16, float>;

/// Calls f.template operator()<Types>(problem as stored, source of choices) for the configuration's types.
template <class F>
[[nodiscard]] std::string with_types(const config& c, const F& f) {
  random_source draw(c.seed * 3 + 1);
  const problem p = inputs_of(c);
  using gqa::bf16, gqa::f16;
  switch (c.types) {
    case 0: return f.template operator()<all_f32>(as_stored<float, float, float>(p), draw);
    case 1: return f.template operator()<mixed>(as_stored<float, f16, bf16>(p), draw);
    case 2: return f.template operator()<gqa::types<f16>>(as_stored<f16, f16, f16>(p), draw);
    default: return f.template operator()<gqa::types<bf16>>(as_stored<bf16, bf16, bf16>(p), draw);
  }
}

/// The same in f32 whatever the configuration's types.
template <class F>
[[nodiscard]] std::string in_f32(const config& c, const F& f) {
  config plain = c;
  plain.types = 0;
  return with_types(plain, [&]<class>(const problem& p, random_source& draw) { return f(p, draw); });
}

}  // namespace gqa_test
