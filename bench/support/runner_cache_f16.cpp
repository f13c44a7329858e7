// Runners for queries in f32 over caches in f16.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_cache_f16_runner(cell_memory& memory, worker_pool& pool) {
  return make_typed<float, gqa::f16, gqa::f16>(memory, pool);
}

}  // namespace bench
