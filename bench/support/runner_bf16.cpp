// Runners for queries in bf16.
#include "typed_runner.hpp"

namespace bench {

std::unique_ptr<runner> make_bf16_runner(cell_memory& memory, worker_pool& pool) {
  return make_for_keys<gqa::bf16>(memory, pool);
}

}  // namespace bench
