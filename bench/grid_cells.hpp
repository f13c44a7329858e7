// Which cells the grid measures, and what each has to reach. 32 query heads x 128 unless said otherwise:
//
//   decode     KV heads x storage x layout x threads, in full at 4096 tokens; elsewhere one axis at a time
//   models     shapes of models in use
//   batches    ragged lengths, and the same sequences one by one
//   queries    verification, chunks, prefill
#pragma once

#include <random>
#include <string>
#include <vector>

#include "support/cell.hpp"
#include "support/machine.hpp"

namespace bench {

struct grid_cell {
  std::string section;
  cell c;
};

/// The share of the limit that a cell has to reach; 0 where none is set. `w` decides what binds it.
[[nodiscard]] inline double target_of(const cell& c, const work& w, double read_rate, double fma_rate) {
  const bool half_precision = c.k_type != gqa::element::f32;
  if (c.q_len >= 256) {
    if (c.kv_len < 2048) return 0.65;
    return c.head_dim <= 64 ? 0.70 : half_precision ? 0.75 : 0.78;
  }
  if (c.q_len > 1) return c.q_len == 8 ? 0.70 : 0;
  if (c.one_by_one) return 0;
  if (c.hot) return 0.5;
  if (c.longest() < 4096) return 0;
  if (w.bytes / read_rate >= 2 * w.flops / fma_rate) return 0.85;
  return c.layout == cache_layout::tiled ? 0.75 : 0.70;
}

class grid_builder {
 public:
  grid_builder(bool quick, int all_threads) : quick_(quick) {
    threads_ = {1};
    if (all_threads > 1) threads_.push_back(all_threads);
    for (int t = 2; t < all_threads; t *= 2) between_.push_back(t);
  }

  [[nodiscard]] std::vector<grid_cell> build() {
    decode_cross();
    if (!quick_) thread_axis();
    for (std::int64_t tokens : {512, 16384, 131072})
      if (!quick_ || tokens <= 16384) decode_axes(tokens);
    model_shapes();
    ragged_batches();
    query_lengths();
    return std::move(cells_);
  }

 private:
  using elements = std::vector<gqa::element>;
  struct way {
    cache_layout layout;
    std::int64_t page_size;
  };

  static cell decode(std::int64_t kv_heads, std::int64_t tokens, int threads) {
    cell c;
    c.kv_heads = kv_heads;
    c.kv_len = tokens;
    c.threads = threads;
    c.hot = tokens < 4096;
    return c;
  }
  static void store_as(cell& c, gqa::element type) { c.k_type = c.v_type = type; }
  void add(const char* section, const cell& c) { cells_.push_back({section, c}); }

  [[nodiscard]] elements types() const {
    return quick_ ? elements{gqa::element::f32, gqa::element::bf16}
                  : elements{gqa::element::f32, gqa::element::f16, gqa::element::bf16};
  }
  [[nodiscard]] std::vector<std::int64_t> heads() const {
    return quick_ ? std::vector<std::int64_t>{32, 8, 1} : std::vector<std::int64_t>{32, 8, 4, 1};
  }
  [[nodiscard]] std::vector<way> ways() const {
    if (quick_) return {{cache_layout::token_major, 16}, {cache_layout::tiled, 16}, {cache_layout::paged_token_major, 16}};
    return {{cache_layout::token_major, 16}, {cache_layout::head_major, 16}, {cache_layout::tiled, 16},
            {cache_layout::paged_token_major, 16}, {cache_layout::paged_token_major, 128}};
  }

  void decode_cross() {
    for (int threads : threads_)
      for (gqa::element type : types())
        for (way w : ways())
          for (std::int64_t h : heads()) {
            const bool plain = type == gqa::element::f32 && w.layout == cache_layout::token_major;
            if (quick_ && threads > 1 && !plain) continue;
            cell c = decode(h, 4096, threads);
            store_as(c, type);
            c.layout = w.layout;
            c.page_size = w.page_size;
            add("decode", c);
          }
  }

  /// Thread counts between one and all, for the plot.
  void thread_axis() {
    for (int threads : between_)
      for (std::int64_t h : heads()) add("decode", decode(h, 4096, threads));
  }

  /// One axis at a time, from GQA-8, token-major, f32, one thread.
  void decode_axes(std::int64_t tokens) {
    for (int threads : threads_)
      for (std::int64_t h : heads())
        if (!quick_ || threads == 1) add("decode", decode(h, tokens, threads));
    if (quick_) return;
    for (gqa::element type : types()) {
      cell c = decode(8, tokens, 1);
      store_as(c, type);
      if (type != gqa::element::f32) add("decode", c);
    }
    for (way w : ways()) {
      cell c = decode(8, tokens, 1);
      c.layout = w.layout;
      c.page_size = w.page_size;
      if (w.layout != cache_layout::token_major) add("decode", c);
    }
  }

  void model_shapes() {
    struct shape {
      std::int64_t q_heads, kv_heads, head_dim, v_head_dim;
    };
    for (int threads : threads_)
      for (gqa::element type : quick_ ? elements{gqa::element::f32} : elements{gqa::element::f32, gqa::element::bf16})
        for (shape s : {shape{14, 2, 64, 64}, {24, 8, 128, 128}, {71, 1, 64, 64}, {8, 4, 256, 256}, {64, 8, 64, 64}, {128, 1, 576, 512}}) {
          if (quick_ && threads > 1) continue;
          cell c = decode(s.kv_heads, 4096, threads);
          c.q_heads = s.q_heads;
          c.head_dim = s.head_dim;
          c.v_head_dim = s.v_head_dim;
          store_as(c, type);
          if (s.q_heads == 64) {
            c.window = 128;
            c.sinks = true;
          }
          c.v_in_k = s.v_head_dim != s.head_dim;
          add("models", c);
        }
  }

  void ragged_batches() {
    for (int threads : threads_)
      for (std::int64_t batch : {8, 64}) {
        if (quick_ && (batch > 8 || threads > 1)) continue;
        std::mt19937 random(static_cast<unsigned>(batch));
        cell c = decode(8, 4096, threads);
        c.batch = batch;
        for (std::int64_t b = 0; b < batch; ++b)
          c.kv_lens.push_back(std::uniform_int_distribution<std::int64_t>(1, 4096)(random));
        c.kv_lens.back() = 4096;
        add("batches", c);
        c.one_by_one = true;
        add("batches", c);
      }
  }

  void query_lengths() {
    for (int threads : threads_) {
      if (quick_ && threads > 1) continue;
      for (gqa::element type : types()) {
        const auto many = [&](std::int64_t q_len, std::int64_t tokens, std::int64_t head_dim = 128) {
          cell c = decode(8, tokens, threads);
          c.hot = false;
          c.q_len = q_len;
          c.head_dim = c.v_head_dim = head_dim;
          store_as(c, type);
          add("queries", c);
        };
        const bool f32 = type == gqa::element::f32;
        for (std::int64_t q_len : {2, 4, 8})
          if (!quick_ || q_len == 8) many(q_len, 4096);
        many(256, 4096);
        if (!quick_) many(256, 32768);
        if (!quick_ || f32) many(512, 512);
        many(2048, 2048);
        if (!quick_) many(2048, 2048, 64);
        if (!quick_ && type != gqa::element::f16) many(8192, 8192);
      }
    }
  }

  bool quick_;
  std::vector<int> threads_, between_;
  std::vector<grid_cell> cells_;
};

}  // namespace bench
