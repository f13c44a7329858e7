// An executor with its own threads, each pinned to a CPU: item i always runs in worker i mod threads, so that memory
// which worker w touched first is read by worker w. Worker 0 is the calling thread. Starting a job allocates nothing.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gqa/plan/executor.hpp>

#include "machine.hpp"

namespace bench {

inline void pause_cpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

class worker_pool {
 public:
  explicit worker_pool(int threads) : threads_(threads), cpus_(allowed_cpus()) {
    pthread_getaffinity_np(pthread_self(), sizeof callers_, &callers_);
    pin(0);
    for (int w = 1; w < threads; ++w) workers_.emplace_back([this, w] { work(w); });
  }
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;
  ~worker_pool() {
    stop_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (std::thread& t : workers_) t.join();
    pthread_setaffinity_np(pthread_self(), sizeof callers_, &callers_);
  }

  [[nodiscard]] int threads() const noexcept { return threads_; }

  template <class F>
  void parallel_for(std::int64_t n, F f) noexcept {
    if (threads_ == 1 || n <= 1) {
      for (std::int64_t i = 0; i < n; ++i) f(i);
      return;
    }
    call_ = [](void* object, std::int64_t i) { (*static_cast<F*>(object))(i); };
    object_ = &f;
    items_ = n;
    busy_.store(threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    run_items(0);
    for (int spins = 0; busy_.load(std::memory_order_acquire) != 0;) relax(spins);
  }

 private:
  static constexpr int spin_limit = 20000;  // well under a millisecond: longer than the gap between two runs

  static void relax(int& spins) noexcept {
    if (++spins < spin_limit)
      pause_cpu();
    else
      std::this_thread::yield();
  }

  void pin(int worker) noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpus_[static_cast<std::size_t>(worker) % cpus_.size()]), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  }

  void run_items(int worker) noexcept {
    for (std::int64_t i = worker; i < items_; i += threads_) call_(object_, i);
  }

  void work(int worker) noexcept {
    pin(worker);
    for (std::uint32_t seen = 0;;) {
      for (int spins = 0; generation_.load(std::memory_order_acquire) == seen && spins < spin_limit; ++spins) pause_cpu();
      generation_.wait(seen, std::memory_order_acquire);
      ++seen;
      if (stop_) return;
      run_items(worker);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  int threads_;
  std::vector<int> cpus_;
  cpu_set_t callers_{};
  std::vector<std::thread> workers_;
  void (*call_)(void*, std::int64_t) = nullptr;
  void* object_ = nullptr;
  std::int64_t items_ = 0;
  bool stop_ = false;
  std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<int> busy_{0};
};

static_assert(gqa::executor<worker_pool>);

}  // namespace bench
