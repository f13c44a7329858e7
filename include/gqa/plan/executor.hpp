// Who runs the work items. An executor is anything with parallel_for(n, f) that returns after f(0) ... f(n - 1) have
// run, in any order, one after another or at once, in threads of its own or nested in the caller's pool. No item waits
// for another; in a first pass item i alone touches scratch i, in a second one (where a unit of work lay in several
// items) items touch different rows of all scratches. f is copyable and captures at most two words.
#pragma once

#include <cstdint>
#include <utility>

#include "../base/config.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {
struct any_item {
  void operator()(std::int64_t) const noexcept {}
};
}  // namespace detail

template <class E>
concept executor = requires(E& e, std::int64_t n, detail::any_item f) {
  e.parallel_for(n, f);
};

/// One item after another, in the calling thread.
struct sequential_executor {
  template <class F>
  void parallel_for(std::int64_t n, F&& f) const {
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
};

static_assert(executor<sequential_executor>);

GQA_NAMESPACE_END
