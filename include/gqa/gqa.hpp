// gqa: attention operators for CPUs. Everything but the executors with dependencies (plan/executor_eigen.hpp,
// plan/executor_openmp.hpp) and the float64 reference (reference.hpp).
#pragma once

#include "attention.hpp"
#include "base/convert.hpp"
#include "base/eigen_view.hpp"
#include "kv/append.hpp"
#include "kv/cache.hpp"
#include "kv/contiguous.hpp"
#include "kv/paged.hpp"
#include "kv/paged_cache.hpp"
#include "model/cache_size.hpp"
