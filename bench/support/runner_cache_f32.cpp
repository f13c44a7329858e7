// Runners for queries in f32 over caches in f32.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_cache_f32_runner(cell_memory& memory, worker_pool& pool) {
  return make_typed<float, float, float>(memory, pool);
}

}  // namespace bench
