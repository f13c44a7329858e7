// Eigen's thread pool as executor. Not part of gqa.hpp: it brings Eigen's thread pool headers.
#pragma once

#include <unsupported/Eigen/CXX11/ThreadPool>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "executor.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {

/// n items that any number of threads take from one counter. A thread waits only for items that another thread has
/// already begun, so nested use makes progress however few threads the pool has.
template <class F>
class shared_items {
 public:
  shared_items(std::int64_t n, F f) : n_(n), f_(std::move(f)) {}

  /// Runs items until none is left to begin.
  void work() {
    for (std::int64_t i = next_.fetch_add(1, std::memory_order_relaxed); i < n_;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      f_(i);
      if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_) finished_.notify_all();
    }
  }

  /// Returns when every item has run. To be called after work().
  void wait() const noexcept {
    for (std::int64_t done = finished_.load(std::memory_order_acquire); done < n_;
         done = finished_.load(std::memory_order_acquire))
      finished_.wait(done, std::memory_order_acquire);
  }

 private:
  const std::int64_t n_;
  F f_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<std::int64_t> finished_{0};
};

}  // namespace detail

/// Runs items in the pool's threads and in the calling one; the pool must outlive the executor. May be called from
/// inside the same pool, nested to any depth. Allocates in parallel_for (the tasks, and the counter they share), unlike
/// run() itself. f must not throw.
class eigen_executor {
 public:
  explicit eigen_executor(Eigen::ThreadPoolInterface& pool) noexcept : pool_(&pool) {}

  template <class F>
  void parallel_for(std::int64_t n, F f) {
    if (n <= 0) return;
    const std::int64_t helpers = std::min<std::int64_t>(n - 1, pool_->NumThreads());
    if (helpers == 0) {
      for (std::int64_t i = 0; i < n; ++i) f(i);
      return;
    }
    // Shared, because a helper may be scheduled only after the last item is done and this call has returned; such a
    // helper finds nothing to begin and never calls f.
    const auto items = std::make_shared<detail::shared_items<F>>(n, std::move(f));
    for (std::int64_t h = 0; h < helpers; ++h) pool_->Schedule([items] { items->work(); });
    items->work();
    items->wait();
  }

 private:
  Eigen::ThreadPoolInterface* pool_;
};

static_assert(executor<eigen_executor>);

GQA_NAMESPACE_END
