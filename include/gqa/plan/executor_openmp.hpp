// OpenMP as executor. Not part of gqa.hpp: the translation unit must be compiled with -fopenmp.
#pragma once

#ifndef _OPENMP
#error "gqa/plan/executor_openmp.hpp needs -fopenmp"
#endif
#include <omp.h>

#include "executor.hpp"

GQA_NAMESPACE_BEGIN

struct openmp_executor {
  int threads = 0;  ///< 0: OpenMP's default

  template <class F>
  void parallel_for(std::int64_t n, F f) const {
    const int team = threads > 0 ? threads : omp_get_max_threads();
#pragma omp parallel for num_threads(team) schedule(static, 1)
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
};

GQA_NAMESPACE_END
