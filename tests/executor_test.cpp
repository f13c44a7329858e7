// Executors: every index exactly once, whatever n, the number of threads, and the depth of nesting.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <gqa/plan/executor.hpp>
#include <gqa/plan/executor_eigen.hpp>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <gqa/plan/executor_openmp.hpp>
#endif

namespace {

/// How often each of n indices ran under `executor`, and whether all had run when parallel_for returned.
template <class E>
void expect_each_index_once(E&& executor, std::int64_t n) {
  std::vector<std::atomic<int>> runs(static_cast<std::size_t>(n));
  std::atomic<int>* const counts = runs.data();
  std::atomic<std::int64_t> outside{0};
  std::atomic<std::int64_t>* const misses = &outside;
  struct item {
    std::atomic<int>* counts;
    std::atomic<std::int64_t>* misses;
    std::int64_t n;
    void operator()(std::int64_t i) const noexcept { i >= 0 && i < n ? ++counts[i] : ++*misses; }
  };
  executor.parallel_for(n, item{counts, misses, n});
  EXPECT_EQ(outside.load(), 0) << "indices outside 0 ... n - 1, n = " << n;
  for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(runs[static_cast<std::size_t>(i)].load(), 1) << i << " of " << n;
}

constexpr std::int64_t counts_to_try[] = {0, 1, 2, 3, 7, 16, 1000, 20000};

TEST(sequential_executor, runs_every_index_once_and_in_order) {
  for (std::int64_t n : counts_to_try) expect_each_index_once(gqa::sequential_executor{}, n);
  std::vector<std::int64_t> order;
  gqa::sequential_executor{}.parallel_for(5, [&](std::int64_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
}

TEST(eigen_executor, runs_every_index_once) {
  for (int threads : {1, 2, 4, 9}) {
    Eigen::ThreadPool pool(threads);
    for (std::int64_t n : counts_to_try) expect_each_index_once(gqa::eigen_executor(pool), n);
  }
}

TEST(eigen_executor, has_run_everything_when_it_returns) {
  Eigen::ThreadPool pool(3);
  gqa::eigen_executor executor(pool);
  for (int round = 0; round < 500; ++round) {
    std::atomic<int> done{0};
    executor.parallel_for(4, [&done](std::int64_t) {
      std::this_thread::yield();
      ++done;
    });
    ASSERT_EQ(done.load(), 4) << "round " << round;
  }
}

TEST(eigen_executor, uses_the_pool_and_the_caller) {
  Eigen::ThreadPool pool(1);
  // Two items that each wait for the other to begin: only two threads at once can finish them.
  std::atomic<int> begun{0};
  gqa::eigen_executor(pool).parallel_for(2, [&begun](std::int64_t) {
    ++begun;
    while (begun.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(begun.load(), 2);
}

/// Calls parallel_for from inside the pool's own threads, `depth` deep; counts the innermost items.
struct nest {
  gqa::eigen_executor* executor;
  std::atomic<std::int64_t>* innermost;
  int depth;
  void operator()(std::int64_t) const {
    if (depth == 0) ++*innermost;
    else executor->parallel_for(3, nest{executor, innermost, depth - 1});
  }
};

TEST(eigen_executor, may_be_nested_in_its_own_pool) {
  for (int threads : {1, 2, 4}) {
    Eigen::ThreadPool pool(threads);
    gqa::eigen_executor executor(pool);
    for (int round = 0; round < 50; ++round) {
      std::atomic<std::int64_t> innermost{0};
      executor.parallel_for(8, nest{&executor, &innermost, 4});
      ASSERT_EQ(innermost.load(), 8 * 81) << threads << " threads, round " << round;
    }
  }
}

TEST(eigen_executor, may_be_called_from_the_only_thread_of_its_pool) {
  Eigen::ThreadPool pool(1);
  gqa::eigen_executor executor(pool);
  std::atomic<std::int64_t> sum{0};
  Eigen::Barrier finished(1);
  pool.Schedule([&] {
    executor.parallel_for(100, [&sum](std::int64_t i) { sum += i; });
    finished.Notify();
  });
  finished.Wait();
  EXPECT_EQ(sum.load(), 4950);
}

TEST(eigen_executor, late_helpers_touch_nothing_of_a_finished_call) {
  Eigen::ThreadPool pool(1);
  gqa::eigen_executor executor(pool);
  // The pool's only thread is held while the caller does all the work, so that every helper comes late.
  Eigen::Barrier held(1), release(1);
  pool.Schedule([&] {
    held.Notify();
    release.Wait();
  });
  held.Wait();
  for (int round = 0; round < 100; ++round) {
    auto alive = std::make_unique<std::atomic<int>>(0);
    std::atomic<int>* const counter = alive.get();
    executor.parallel_for(10, [counter](std::int64_t) { ++*counter; });
    ASSERT_EQ(counter->load(), 10);
  }
  release.Notify();
  expect_each_index_once(executor, 50);  // the late helpers run before these items do
}

#ifdef _OPENMP
TEST(openmp_executor, runs_every_index_once) {
  for (int threads : {0, 1, 2, 5})
    for (std::int64_t n : counts_to_try) expect_each_index_once(gqa::openmp_executor{threads}, n);
}

TEST(openmp_executor, may_be_nested) {
  std::atomic<std::int64_t> inner{0};
  gqa::openmp_executor{2}.parallel_for(
      4, [&inner](std::int64_t) { gqa::openmp_executor{2}.parallel_for(5, [&inner](std::int64_t) { ++inner; }); });
  EXPECT_EQ(inner.load(), 20);
}
#endif

/// Any type with parallel_for is an executor; these are what user code looks like.
struct backwards {
  void parallel_for(std::int64_t n, auto f) {
    while (n-- > 0) f(n);
  }
};
struct thread_per_item {
  void parallel_for(std::int64_t n, auto f) {
    std::vector<std::thread> threads;
    for (std::int64_t i = 0; i < n; ++i) threads.emplace_back(f, i);
    for (std::thread& t : threads) t.join();
  }
};
struct no_executor {
  void parallel_for(std::int64_t) {}
};
static_assert(gqa::executor<backwards> && gqa::executor<thread_per_item>);
static_assert(!gqa::executor<no_executor> && !gqa::executor<int>);

TEST(user_executor, runs_every_index_once) {
  for (std::int64_t n : {0, 1, 5, 40}) {
    expect_each_index_once(backwards{}, n);
    expect_each_index_once(thread_per_item{}, n);
  }
}

}  // namespace
