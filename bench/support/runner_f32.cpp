// Runners for queries in f32.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_f32_runner(cell_memory& memory, worker_pool& pool) {
  return make_for_keys<float>(memory, pool);
}

}  // namespace bench
