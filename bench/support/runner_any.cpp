// Runners for every combination of types: chooses by the query's.
#include "runner.hpp"

namespace bench {

std::unique_ptr<runner> make_any_runner(cell_memory& memory, worker_pool& pool) {
  switch (memory.of().q_type) {
    case gqa::element::f16: return make_f16_runner(memory, pool);
    case gqa::element::bf16: return make_bf16_runner(memory, pool);
    default: return make_f32_runner(memory, pool);
  }
}

}  // namespace bench
