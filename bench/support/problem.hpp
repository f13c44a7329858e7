// A cell ready to be measured: memory, plan, workspace and read probe, with one cursor that walks the rotation of caches
// for the operator and the probe alike, so that both find their next cache equally cold (or hot).
#pragma once

#include <memory>
#include <vector>

#include "cell.hpp"
#include "cell_memory.hpp"
#include "read_probe.hpp"
#include "runner.hpp"

namespace bench {

class problem {
 public:
  /// Throws gqa::error on what cell or plan refuse, no_memory where the caches do not fit.
  problem(const cell& c, runner_factory make_runner)
      : pool_(c.threads), memory_(c, pool_), work_(work_of(c)), reader_(pool_, k_segments(), v_segments()),
        runner_(make_runner(memory_, pool_)) {
    run_next();  // faults in queries, outputs and code; shows errors before anything is timed
  }

  void run_next() {
    const std::int64_t i = next();
    if (const gqa::status s = runner_->run(memory_.k(i), memory_.v(i)); !s.ok()) throw gqa::error(s);
    last_ = i;
  }
  void read_next() {
    const std::int64_t i = next();
    reader_.read(memory_.k(i), memory_.v(i));
  }

  [[nodiscard]] const cell& of() const noexcept { return memory_.of(); }
  [[nodiscard]] const work& amount() const noexcept { return work_; }
  [[nodiscard]] const cell_memory& memory() const noexcept { return memory_; }
  [[nodiscard]] std::int64_t last_cache() const noexcept { return last_; }  ///< the one behind the current output
  [[nodiscard]] worker_pool& pool() noexcept { return pool_; }
  [[nodiscard]] reader& probe() noexcept { return reader_; }
  [[nodiscard]] runner& operation() noexcept { return *runner_; }

 private:
  std::int64_t next() noexcept { return cursor_ = cursor_ + 1 == memory_.caches() ? 0 : cursor_ + 1; }

  /// The K (V) bytes that some query sees, from the layout itself.
  [[nodiscard]] std::vector<segment> seen(bool keys) const {
    const cell& c = memory_.of();
    return std::visit(
        [&](const auto& layout) {
          std::vector<segment> parts;
          const gqa::kv_strides s = keys ? layout.k_strides() : layout.v_strides();
          const bool tiles = keys && layout.order() == gqa::key_order::tiles;
          const std::int64_t size = gqa::bytes_of(keys ? c.k_type : c.v_type), dim = keys ? c.head_dim : c.v_head_dim;
          const bool dense_token = s.head == dim, dense_head = s.token == (tiles ? dim * gqa::tile_tokens : dim);
          const auto add = [&](std::int64_t at, std::int64_t n) { parts.push_back({at * size, (at + n) * size}); };
          for (std::int64_t b = 0; b < c.batch; ++b) {
            const token_range range = visible_tokens(c, b);
            for (std::int64_t t = range.first; t < range.last;) {
              const gqa::kv_run run = layout.run_at(b, t);
              const std::int64_t n = std::min(run.count, range.last - t), start = keys ? run.k : run.v;
              if (dense_token && !tiles && (s.token == c.kv_heads * dim || n == 1)) {
                add(start, n * c.kv_heads * dim);
              } else {
                for (std::int64_t h = 0; h < c.kv_heads; ++h) {
                  if (dense_head) add(start + h * s.head, n * dim);
                  for (std::int64_t i = 0; !dense_head && i < n; ++i) add(start + i * s.token + h * s.head, dim);
                }
              }
              t += n;
            }
          }
          return joined(std::move(parts));
        },
        memory_.layout(0, c.batch));
  }
  [[nodiscard]] std::vector<segment> k_segments() const { return seen(true); }
  [[nodiscard]] std::vector<segment> v_segments() const {
    return memory_.of().v_in_k ? std::vector<segment>{} : seen(false);
  }

  worker_pool pool_;
  cell_memory memory_;
  work work_;
  reader reader_;
  std::unique_ptr<runner> runner_;
  std::int64_t cursor_ = -1, last_ = 0;
};

}  // namespace bench
