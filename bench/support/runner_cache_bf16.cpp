// Runners for queries in f32 over caches in bf16.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_cache_bf16_runner(cell_memory& memory, worker_pool& pool) {
  return make_typed<float, gqa::bf16, gqa::bf16>(memory, pool);
}

}  // namespace bench
