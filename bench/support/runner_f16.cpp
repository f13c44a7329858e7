// Runners for queries in f16.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_f16_runner(cell_memory& memory, worker_pool& pool) {
  return make_for_keys<gqa::f16>(memory, pool);
}

}  // namespace bench
