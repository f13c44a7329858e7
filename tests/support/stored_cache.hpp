// The keys and values of a problem, laid out in memory in any way the library knows: contiguous or in pages of any size
// whose physical order is shuffled; token-major, head-major or with K in dim-major tiles. Every byte that holds no
// token of a sequence is poison.
#pragma once

#include <cstdint>
#include <gqa/gqa.hpp>
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "generate.hpp"
#include "problem.hpp"

namespace gqa_test {

enum class order { token_major, head_major, tiled };

struct cache_kind {
  order inside = order::token_major;
  std::int64_t page_size = 0;  ///< 0: contiguous
  bool csr = false;            ///< page table in CSR form, else padded

  [[nodiscard]] std::string name() const {
    const char* names[] = {"token_major", "head_major", "tiled"};
    const std::string text = names[static_cast<int>(inside)];
    return page_size == 0 ? text : "paged(" + std::to_string(page_size) + (csr ? ", csr) " : ") ") + text;
  }
};

template <class K, class V>
class stored_cache {
 public:
  /// `slack`: tokens of room beyond the longest sequence, all poison. `offset`: elements between the start of the
  /// allocation and the first element, so that pointers are aligned to their element only.
  stored_cache(const problem& p, cache_kind kind, double poison = nan, std::int64_t slack = 3, std::int64_t offset = 0)
      : kind_(kind), offset_(offset) {
    if (kind.page_size == 0) store_contiguous(p, poison, slack);
    else store_paged(p, poison);
  }
  stored_cache(const stored_cache&) = delete;  // the layout points into the tables
  stored_cache& operator=(const stored_cache&) = delete;

  [[nodiscard]] const K* k() const { return k_.data() + offset_; }
  [[nodiscard]] const V* v() const { return v_.data() + offset_; }
  /// Calls f(layout) with the layout's own type.
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), layout_);
  }

 private:
  void allocate(std::int64_t k_size, std::int64_t v_size, double poison) {
    k_.assign(static_cast<std::size_t>(k_size + offset_), static_cast<K>(static_cast<float>(poison)));
    v_.assign(static_cast<std::size_t>(v_size + offset_), static_cast<V>(static_cast<float>(poison)));
  }

  /// Copies token j of (b, g) to slot `slot` of a unit of `room` tokens (a cache or a page) that is number `unit`.
  void put(const problem& p, std::int64_t b, std::int64_t g, std::int64_t j, std::int64_t unit, std::int64_t room,
           std::int64_t slot) {
    const std::int64_t heads = p.kv_heads(), dim = p.head_dim(), v_dim = p.v_head_dim();
    const std::int64_t by_token = (unit * room + slot) * heads + g, by_head = (unit * heads + g) * room + slot;
    const std::int64_t tile = (unit * heads + g) * (room / 16) + slot / 16;
    for (std::int64_t d = 0; d < dim; ++d) {
      const double x = p.k[static_cast<std::size_t>(((b * p.kv_len + j) * heads + g) * dim + d)];
      const std::int64_t at = kind_.inside == order::token_major  ? by_token * dim + d
                              : kind_.inside == order::head_major ? by_head * dim + d
                                                                  : (tile * dim + d) * 16 + slot % 16;
      k_[static_cast<std::size_t>(offset_ + at)] = static_cast<K>(static_cast<float>(x));
    }
    const std::int64_t row = kind_.inside == order::token_major ? by_token : by_head;
    for (std::int64_t d = 0; d < v_dim; ++d) {
      const double x = p.v[static_cast<std::size_t>(((b * p.kv_len + j) * heads + g) * v_dim + d)];
      v_[static_cast<std::size_t>(offset_ + row * v_dim + d)] = static_cast<V>(static_cast<float>(x));
    }
  }

  void store_contiguous(const problem& p, double poison, std::int64_t slack) {
    std::int64_t room = p.tokens() + slack;
    if (kind_.inside == order::tiled) room = (room + 15) / 16 * 16;
    allocate(p.batch * room * p.kv_heads() * p.head_dim(), p.batch * room * p.kv_heads() * p.v_head_dim(), poison);
    for (std::int64_t b = 0; b < p.batch; ++b)
      for (std::int64_t j = 0; j < p.kv_lens[static_cast<std::size_t>(b)]; ++j)
        for (std::int64_t g = 0; g < p.kv_heads(); ++g) put(p, b, g, j, b, room, j);
    const auto make = kind_.inside == order::token_major  ? gqa::contiguous_layout::token_major
                      : kind_.inside == order::head_major ? gqa::contiguous_layout::head_major
                                                          : gqa::contiguous_layout::tiled;
    layout_ = make(p.batch, room, p.kv_heads(), p.head_dim(), p.v_head_dim());
  }

  void store_paged(const problem& p, double poison) {
    const std::int64_t size = kind_.page_size;
    std::int64_t used = 0, width = 0;
    for (std::int64_t len : p.kv_lens) {
      used += (len + size - 1) / size;
      width = std::max(width, (len + size - 1) / size);
    }
    const std::int64_t pages = used + 2;  // two that no table names
    std::vector<std::int32_t> free(static_cast<std::size_t>(pages));
    std::iota(free.begin(), free.end(), 0);
    random_source draw(static_cast<std::uint64_t>(17 * size + pages));
    for (std::size_t i = free.size(); i > 1; --i)
      std::swap(free[i - 1], free[static_cast<std::size_t>(draw.between(0, static_cast<std::int64_t>(i) - 1))]);

    allocate(pages * size * p.kv_heads() * p.head_dim(), pages * size * p.kv_heads() * p.v_head_dim(), poison);
    if (!kind_.csr) ids_.assign(static_cast<std::size_t>(p.batch * width), -1);  // an id that must not be looked at
    indptr_.assign(1, 0);
    for (std::int64_t b = 0; b < p.batch; ++b) {
      const std::int64_t len = p.kv_lens[static_cast<std::size_t>(b)];
      for (std::int64_t page = 0; page * size < len; ++page) {
        const std::int32_t id = free.back();
        free.pop_back();
        if (kind_.csr) ids_.push_back(id);
        else ids_[static_cast<std::size_t>(b * width + page)] = id;
        for (std::int64_t j = page * size; j < std::min(len, (page + 1) * size); ++j)
          for (std::int64_t g = 0; g < p.kv_heads(); ++g) put(p, b, g, j, id, size, j % size);
      }
      indptr_.push_back(static_cast<std::int32_t>(ids_.size()));
    }
    const auto table = kind_.csr ? gqa::page_table_view::csr(ids_, indptr_)
                                 : gqa::page_table_view::padded(ids_.data(), p.batch, width);
    const auto make = kind_.inside == order::token_major  ? gqa::paged_layout::token_major
                      : kind_.inside == order::head_major ? gqa::paged_layout::head_major
                                                          : gqa::paged_layout::tiled;
    layout_ = make(table, pages, size, p.kv_heads(), p.head_dim(), p.v_head_dim());
  }

  cache_kind kind_;
  std::int64_t offset_ = 0;
  std::vector<K> k_;
  std::vector<V> v_;
  std::vector<std::int32_t> ids_, indptr_;
  std::variant<gqa::contiguous_layout, gqa::paged_layout> layout_;
};

}  // namespace gqa_test
