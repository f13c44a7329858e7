// An executor as a user might write it, hostile on purpose: every item in a thread of its own, started last to first.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

namespace gqa_test {

struct reversed_threads {
  template <class F>
  void parallel_for(std::int64_t n, F f) const {
    std::vector<std::thread> threads;
    for (std::int64_t i = n - 1; i >= 0; --i) threads.emplace_back([f, i] { f(i); });
    for (std::thread& t : threads) t.join();
  }
};

}  // namespace gqa_test
