// The memory of a cell: as many caches as it takes to run from memory, filled with random normal values by the worker
// that will read them, and one set of queries and outputs.
#pragma once

#include <sys/mman.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <stdexcept>
#include <variant>
#include <vector>

#include "cell.hpp"
#include "machine.hpp"
#include "worker_pool.hpp"

namespace bench {

/// Thrown where a cell needs more memory than the machine has left.
struct no_memory : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using any_layout = std::variant<gqa::contiguous_layout, gqa::paged_layout>;

/// Fresh zero pages, which belong to whoever touches them first.
class pages {
 public:
  pages() = default;
  pages(std::size_t bytes, bool huge) : bytes_(bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw no_memory("mmap of " + std::to_string(bytes >> 20) + " MiB failed");
    base_ = static_cast<std::byte*>(p);
    madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a hint: kernels without huge pages refuse it
  }
  pages(pages&& other) noexcept : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  pages& operator=(pages&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~pages() {
    if (base_) munmap(base_, bytes_);
  }
  [[nodiscard]] std::byte* data() const noexcept { return base_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A store of standard normal numbers in one element type; rows are cut from it at random places. Queries, keys and
/// values have stores of their own: a query that repeats a key would be no random query.
class normal_values {
 public:
  normal_values(gqa::element type, unsigned seed) : size_(static_cast<std::size_t>(gqa::bytes_of(type))), store_(count * size_) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count; ++i) put(type, i, normal(random));
  }

  /// Fills `elements` elements at `out` with pieces of the store; the same seed gives the same values.
  void fill(std::byte* out, std::int64_t elements, std::uint64_t seed) const {
    constexpr std::int64_t piece = 512;
    for (std::int64_t at = 0; at < elements; at += piece) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const std::size_t from = (seed >> 33) % (count - piece);
      const auto n = static_cast<std::size_t>(std::min(piece, elements - at));
      std::memcpy(out + static_cast<std::size_t>(at) * size_, store_.data() + from * size_, n * size_);
    }
  }

 private:
  static constexpr std::size_t count = 1u << 18;

  void put(gqa::element type, std::size_t i, float x) {
    const auto copy = [&](auto value) { std::memcpy(store_.data() + i * sizeof value, &value, sizeof value); };
    if (type == gqa::element::f32) copy(x);
    if (type == gqa::element::f16) copy(gqa::f16(x));
    if (type == gqa::element::bf16) copy(gqa::bf16(x));
  }

  std::size_t size_;
  std::vector<std::byte> store_;
};

class cell_memory {
 public:
  cell_memory(const cell& c, worker_pool& pool) : cell_(c) {
    gqa::throw_if_failed(check(c));
    deal_pages();
    const any_layout all = layout(0, c.batch);
    const auto extents = std::visit(
        [&](const auto& l) {
          gqa::throw_if_failed(l.check(c.kv_heads, c.head_dim, c.v_head_dim));
          return std::pair(l.k_extent(c.kv_heads, c.head_dim), l.v_extent(c.kv_heads, c.v_head_dim));
        },
        all);
    k_elements_ = extents.first.value;
    v_elements_ = c.v_in_k ? 0 : extents.second.value;
    k_bytes_ = whole_pages(k_elements_ * gqa::bytes_of(c.k_type));
    v_bytes_ = whole_pages(v_elements_ * gqa::bytes_of(c.v_type));
    const std::int64_t one = k_bytes_ + v_bytes_;
    const std::int64_t rotation = std::max(std::int64_t{512} << 20, 4 * last_level_cache_bytes());
    count_ = c.hot ? 1 : std::max<std::int64_t>(1, (rotation + one - 1) / one);
    if (const std::int64_t free = available_memory(); free > 0 && count_ * one > free - free / 10)
      throw no_memory("the cell needs " + std::to_string((count_ * one) >> 20) + " MiB of cache, " +
                      std::to_string(free >> 20) + " MiB are free");
    caches_ = pages(static_cast<std::size_t>(count_ * one), c.huge_pages);
    fill_caches(pool);
    fill_queries();
  }

  [[nodiscard]] const cell& of() const noexcept { return cell_; }
  [[nodiscard]] std::int64_t caches() const noexcept { return count_; }
  [[nodiscard]] std::int64_t cache_bytes() const noexcept {
    return k_elements_ * gqa::bytes_of(cell_.k_type) + v_elements_ * gqa::bytes_of(cell_.v_type);
  }
  [[nodiscard]] const std::byte* k(std::int64_t cache) const noexcept {
    return caches_.data() + cache * (k_bytes_ + v_bytes_);
  }
  [[nodiscard]] const std::byte* v(std::int64_t cache) const noexcept { return cell_.v_in_k ? k(cache) : k(cache) + k_bytes_; }
  [[nodiscard]] const std::byte* q() const noexcept { return q_.data(); }
  [[nodiscard]] std::byte* out() noexcept { return out_.data(); }
  [[nodiscard]] const std::byte* out() const noexcept { return out_.data(); }
  [[nodiscard]] const float* sinks() const noexcept { return cell_.sinks ? sinks_.data() : nullptr; }
  [[nodiscard]] const std::vector<std::int64_t>& lengths() const noexcept { return lengths_; }

  /// The layout of sequences [first, first + count), offsets counted from the cache's first element.
  [[nodiscard]] any_layout layout(std::int64_t first, std::int64_t count) const {
    const cell& c = cell_;
    const std::int64_t capacity = c.capacity();
    if (is_paged(c.layout)) {
      const std::int64_t width = capacity / c.page_size, total = c.batch * width;
      const auto table = gqa::page_table_view::padded(table_.data() + first * width, count, width);
      return c.layout == cache_layout::paged_token_major
                 ? gqa::paged_layout::token_major(table, total, c.page_size, c.kv_heads, c.head_dim, c.v_head_dim)
                 : gqa::paged_layout::head_major(table, total, c.page_size, c.kv_heads, c.head_dim, c.v_head_dim);
    }
    using contiguous = gqa::contiguous_layout;
    if (c.v_in_k) {
      const gqa::kv_strides s{c.kv_heads * c.head_dim, c.head_dim};
      return contiguous(count, capacity, s, capacity * s.token, s, capacity * s.token);
    }
    if (c.layout == cache_layout::head_major)
      return contiguous::head_major(count, capacity, c.kv_heads, c.head_dim, c.v_head_dim);
    if (c.layout == cache_layout::tiled) return contiguous::tiled(count, capacity, c.kv_heads, c.head_dim, c.v_head_dim);
    return contiguous::token_major(count, capacity, c.kv_heads, c.head_dim, c.v_head_dim);
  }

 private:
  static std::int64_t whole_pages(std::int64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

  /// Pages in random order, as a cache that has served for a while has them.
  void deal_pages() {
    for (std::int64_t b = 0; b < cell_.batch; ++b) lengths_.push_back(cell_.length(b));
    if (!is_paged(cell_.layout)) return;
    table_.resize(static_cast<std::size_t>(cell_.batch * (cell_.capacity() / cell_.page_size)));
    for (std::size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<std::int32_t>(i);
    std::shuffle(table_.begin(), table_.end(), std::mt19937(7));
  }

  /// Worker w writes share w of every K and V: the one it will read, where the plan cuts the work in order.
  void fill_caches(worker_pool& pool) {
    const normal_values k_values(cell_.k_type, 1), v_values(cell_.v_type, 2);
    struct context {
      cell_memory* memory;
      const normal_values *k, *v;
      std::int64_t workers;
    } fill{this, &k_values, &v_values, pool.threads()};
    pool.parallel_for(pool.threads(), [&fill](std::int64_t w) {
      const cell_memory& m = *fill.memory;
      const auto share = [&](const normal_values& values, std::int64_t cache, std::int64_t start, std::int64_t elements,
                             std::int64_t size) {
        const std::int64_t page = 4096 / size, all = (elements + page - 1) / page;
        const std::int64_t first = all * w / fill.workers * page;
        const std::int64_t last = std::min(all * (w + 1) / fill.workers * page, elements);
        std::byte* at = m.caches_.data() + cache * (m.k_bytes_ + m.v_bytes_) + start + first * size;
        values.fill(at, last - first, static_cast<std::uint64_t>((cache * 2 + (start > 0)) * 4096 + w));
      };
      for (std::int64_t i = 0; i < m.count_; ++i) {
        share(*fill.k, i, 0, m.k_elements_, gqa::bytes_of(m.cell_.k_type));
        if (m.v_elements_ > 0) share(*fill.v, i, m.k_bytes_, m.v_elements_, gqa::bytes_of(m.cell_.v_type));
      }
    });
  }

  void fill_queries() {
    const std::int64_t rows = cell_.batch * cell_.q_len * cell_.q_heads;
    q_.resize(static_cast<std::size_t>(rows * cell_.head_dim * gqa::bytes_of(cell_.q_type)));
    out_.resize(static_cast<std::size_t>(rows * cell_.v_head_dim * gqa::bytes_of(cell_.q_type)));
    normal_values(cell_.q_type, 3).fill(q_.data(), rows * cell_.head_dim, 99);
    sinks_.assign(static_cast<std::size_t>(cell_.q_heads), 0.5f);
  }

  cell cell_;
  std::int64_t k_elements_ = 0, v_elements_ = 0, k_bytes_ = 0, v_bytes_ = 0, count_ = 1;
  pages caches_;
  std::vector<std::int32_t> table_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::byte> q_, out_;
  std::vector<float> sinks_;
};

}  // namespace bench
