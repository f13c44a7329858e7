// Runners for queries in f32 with K and V of one type: chooses by that type.
#include "runner.hpp"

namespace bench {

std::unique_ptr<runner> make_plain_runner(cell_memory& memory, worker_pool& pool) {
  const cell& c = memory.of();
  if (c.q_type != gqa::element::f32 || c.k_type != c.v_type)
    gqa::throw_if_failed(gqa::failure(gqa::errc::unsupported, "v_type", static_cast<std::int64_t>(c.v_type),
                                      "K's type, and f32 queries, in this program"));
  switch (c.k_type) {
    case gqa::element::f16: return make_cache_f16_runner(memory, pool);
    case gqa::element::bf16: return make_cache_bf16_runner(memory, pool);
    default: return make_cache_f32_runner(memory, pool);
  }
}

}  // namespace bench
