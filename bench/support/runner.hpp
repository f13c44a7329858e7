// A cell's plan and workspace behind a virtual call, so that one program can choose types and layouts at run time.
// The make_*_runner functions find the instantiation for a cell; runner_*.cpp hold the instantiations.
#pragma once

#include <cstddef>
#include <memory>

#include "cell_memory.hpp"
#include "worker_pool.hpp"

namespace bench {

class runner {
 public:
  virtual ~runner() = default;
  virtual gqa::status run(const std::byte* k, const std::byte* v) noexcept = 0;
  [[nodiscard]] virtual gqa::isa target() const noexcept = 0;
  [[nodiscard]] virtual std::size_t workspace_bytes() const noexcept = 0;
  [[nodiscard]] virtual double update_seconds() noexcept = 0;  ///< one update of the plan, timed now
  double plan_seconds = 0;                                     ///< what making the plan took
};

using runner_factory = std::unique_ptr<runner> (*)(cell_memory&, worker_pool&);

/// Queries in f32, K and V of one type: all that the comparison and the grid need, and quick to compile.
[[nodiscard]] std::unique_ptr<runner> make_plain_runner(cell_memory& memory, worker_pool& pool);
/// Its parts, one a type of cache.
[[nodiscard]] std::unique_ptr<runner> make_cache_f32_runner(cell_memory& memory, worker_pool& pool);
[[nodiscard]] std::unique_ptr<runner> make_cache_f16_runner(cell_memory& memory, worker_pool& pool);
[[nodiscard]] std::unique_ptr<runner> make_cache_bf16_runner(cell_memory& memory, worker_pool& pool);
/// Every combination of types.
[[nodiscard]] std::unique_ptr<runner> make_any_runner(cell_memory& memory, worker_pool& pool);
/// Its parts, one a type of query. They compile for a minute each.
[[nodiscard]] std::unique_ptr<runner> make_f32_runner(cell_memory& memory, worker_pool& pool);
[[nodiscard]] std::unique_ptr<runner> make_f16_runner(cell_memory& memory, worker_pool& pool);
[[nodiscard]] std::unique_ptr<runner> make_bf16_runner(cell_memory& memory, worker_pool& pool);

}  // namespace bench
