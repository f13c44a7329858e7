// A pool of fixed-size pages and, for each sequence, the list of page ids that hold its tokens (Kwon et al. 2023,
// arXiv 2309.06180, section 4.1): token t of a sequence lies in slot t % page_size of page page_table[t / page_size].
#pragma once

#include <algorithm>
#include <span>

#include "layout.hpp"

GQA_NAMESPACE_BEGIN

/// Page ids of every sequence: a padded table [sequences][width], or CSR (ids of sequence b are
/// indices[indptr[b]] ... indices[indptr[b + 1] - 1]). Does not own; the memory must stay unchanged until the next
/// plan or update. Ids of pages that no query can see are never looked at.
struct page_table_view {
  const std::int32_t* ids = nullptr;     ///< the table's rows, or the CSR indices
  const std::int32_t* indptr = nullptr;  ///< CSR row starts, sequences + 1 of them; null for a padded table
  std::int64_t sequences = 0;
  std::int64_t width = 0;       ///< pages a row has room for (padded), or the length of `ids` (CSR)
  std::int64_t row_stride = 0;  ///< elements between rows (padded)

  [[nodiscard]] static page_table_view padded(const std::int32_t* ids, std::int64_t sequences,
                                              std::int64_t width) noexcept {
    return {ids, nullptr, sequences, width, width};
  }
  /// `indptr` has sequences + 1 entries.
  [[nodiscard]] static page_table_view csr(std::span<const std::int32_t> indices,
                                           std::span<const std::int32_t> indptr) noexcept {
    return {indices.data(), indptr.data(), static_cast<std::int64_t>(indptr.size()) - 1,
            static_cast<std::int64_t>(indices.size()), 0};
  }

  [[nodiscard]] const std::int32_t* row(std::int64_t seq) const noexcept {
    return indptr ? ids + indptr[seq] : ids + seq * row_stride;
  }
  [[nodiscard]] std::int64_t pages(std::int64_t seq) const noexcept {
    return indptr ? std::int64_t{indptr[seq + 1]} - indptr[seq] : width;
  }
};

class paged_layout {
 public:
  paged_layout() = default;

  /// `num_pages` pages in the pool; page p begins at element p * k_page of K and p * v_page of V.
  paged_layout(page_table_view table, std::int64_t num_pages, std::int64_t page_size, kv_strides k, std::int64_t k_page,
               kv_strides v, std::int64_t v_page, key_order order = key_order::rows) noexcept
      : table_(table), num_pages_(num_pages), page_size_(page_size), k_(k), v_(v), k_page_(k_page), v_page_(v_page),
        order_(order) {}

  /// K and V as [num_pages][page_size][kv_heads][dim].
  [[nodiscard]] static paged_layout token_major(page_table_view table, std::int64_t num_pages, std::int64_t page_size,
                                                std::int64_t kv_heads, std::int64_t head_dim,
                                                std::int64_t v_head_dim) noexcept {
    return {table,
            num_pages,
            page_size,
            {saturated(checked(kv_heads) * head_dim), head_dim},
            saturated(checked(page_size) * kv_heads * head_dim),
            {saturated(checked(kv_heads) * v_head_dim), v_head_dim},
            saturated(checked(page_size) * kv_heads * v_head_dim)};
  }

  /// K and V as [num_pages][kv_heads][page_size][dim].
  [[nodiscard]] static paged_layout head_major(page_table_view table, std::int64_t num_pages, std::int64_t page_size,
                                               std::int64_t kv_heads, std::int64_t head_dim,
                                               std::int64_t v_head_dim) noexcept {
    return {table,
            num_pages,
            page_size,
            {head_dim, saturated(checked(page_size) * head_dim)},
            saturated(checked(page_size) * kv_heads * head_dim),
            {v_head_dim, saturated(checked(page_size) * v_head_dim)},
            saturated(checked(page_size) * kv_heads * v_head_dim)};
  }

  /// K as [num_pages][kv_heads][page_size / 16][head_dim][16], V head-major; page_size is a multiple of 16.
  [[nodiscard]] static paged_layout tiled(page_table_view table, std::int64_t num_pages, std::int64_t page_size,
                                          std::int64_t kv_heads, std::int64_t head_dim,
                                          std::int64_t v_head_dim) noexcept {
    paged_layout l = head_major(table, num_pages, page_size, kv_heads, head_dim, v_head_dim);
    l.k_.token = saturated(checked(head_dim) * tile_tokens);
    l.order_ = key_order::tiles;
    return l;
  }

  [[nodiscard]] std::int64_t sequences() const noexcept { return table_.sequences; }
  [[nodiscard]] std::int64_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::int64_t num_pages() const noexcept { return num_pages_; }
  [[nodiscard]] const page_table_view& table() const noexcept { return table_; }
  [[nodiscard]] std::int64_t first_position(std::int64_t) const noexcept { return 0; }
  [[nodiscard]] std::int64_t end_position(std::int64_t seq) const noexcept {
    return saturated(checked(table_.pages(seq)) * page_size_);
  }
  [[nodiscard]] kv_strides k_strides() const noexcept { return k_; }
  [[nodiscard]] kv_strides v_strides() const noexcept { return v_; }
  [[nodiscard]] key_order order() const noexcept { return order_; }

  [[nodiscard]] kv_run run_at(std::int64_t seq, std::int64_t position) const noexcept {
    const std::int64_t slot = position % page_size_;
    const std::int64_t page = table_.row(seq)[position / page_size_];
    return {position, page_size_ - slot, page * k_page_ + token_offset(order_, k_, slot),
            page * v_page_ + slot * v_.token};
  }

  [[nodiscard]] status check(std::int64_t kv_heads, std::int64_t head_dim, std::int64_t v_head_dim) const noexcept {
    if (table_.sequences < 0)
      return failure(errc::invalid_argument, "page_table.sequences", table_.sequences, "a count of at least 0");
    if (page_size_ <= 0) return failure(errc::invalid_argument, "page_size", page_size_, "a positive token count");
    if (num_pages_ < 0) return failure(errc::invalid_argument, "num_pages", num_pages_, "a count of at least 0");
    if (table_.width < 0)
      return failure(errc::invalid_argument, "page_table.width", table_.width, "a count of at least 0");
    GQA_TRY(check_strides("k_strides", k_));
    GQA_TRY(check_strides("v_strides", v_));
    if (k_page_ < 0) return failure(errc::invalid_argument, "k_page", k_page_, "a stride of at least 0");
    if (v_page_ < 0) return failure(errc::invalid_argument, "v_page", v_page_, "a stride of at least 0");
    if (order_ == key_order::tiles && page_size_ % tile_tokens != 0)
      return failure(errc::invalid_argument, "page_size", page_size_, "a multiple of 16 where K lies in tiles");
    GQA_TRY(check_table());
    if (k_extent(kv_heads, head_dim).overflowed)
      return failure(errc::overflow, "k", num_pages_, "a K whose bytes fit in 63 bits; this is its number of pages");
    if (v_extent(kv_heads, v_head_dim).overflowed)
      return failure(errc::overflow, "v", num_pages_, "a V whose bytes fit in 63 bits; this is its number of pages");
    return {};
  }

  /// Every page that holds a token of [begin, end) has an id inside the pool.
  [[nodiscard]] status check_tokens(std::int64_t seq, std::int64_t begin, std::int64_t end) const noexcept {
    if (begin >= end) return {};
    const std::int32_t* row = table_.row(seq);
    for (std::int64_t i = begin / page_size_; i <= (end - 1) / page_size_; ++i)
      if (row[i] < 0 || row[i] >= num_pages_)
        return failure_bound(errc::out_of_range, "page_table", row[i], "a page id of at least 0 and below num_pages",
                             num_pages_, row - table_.ids + i);
    return {};
  }

  [[nodiscard]] checked k_extent(std::int64_t kv_heads, std::int64_t head_dim) const noexcept {
    if (order_ == key_order::rows) return extent(k_, k_page_, page_size_, kv_heads, head_dim);
    return extent(k_, k_page_, page_size_ / tile_tokens, kv_heads, saturated(checked(head_dim) * tile_tokens));
  }
  [[nodiscard]] checked v_extent(std::int64_t kv_heads, std::int64_t v_head_dim) const noexcept {
    return extent(v_, v_page_, page_size_, kv_heads, v_head_dim);
  }

 private:
  [[nodiscard]] status check_table() const noexcept {
    if (table_.sequences == 0) return {};
    if (!table_.ids && table_.width > 0) return failure(errc::null_pointer, "page_table.ids", 0, "a table of page ids");
    if (!table_.indptr) {
      if (table_.row_stride < table_.width)
        return failure_bound(errc::invalid_argument, "page_table.row_stride", table_.row_stride, "at least its width",
                             table_.width);
      return {};
    }
    for (std::int64_t b = 0; b <= table_.sequences; ++b) {
      const std::int64_t low = b == 0 ? 0 : table_.indptr[b - 1];
      if (table_.indptr[b] < low || table_.indptr[b] > table_.width)
        return failure_bound(errc::out_of_range, "page_table.indptr", table_.indptr[b],
                             "ascending offsets of at least 0 and at most the number of indices", table_.width, b);
    }
    return {};
  }

  [[nodiscard]] checked extent(kv_strides s, std::int64_t page_stride, std::int64_t rows, std::int64_t kv_heads,
                               std::int64_t dim) const noexcept {
    if (num_pages_ == 0) return 0;
    checked n =
        checked(num_pages_ - 1) * page_stride + checked(rows - 1) * s.token + checked(kv_heads - 1) * s.head + dim;
    n.overflowed = n.overflowed || (n * 8).overflowed;  // in bytes as well
    return n;
  }

  page_table_view table_;
  std::int64_t num_pages_ = 0, page_size_ = 1;
  kv_strides k_, v_;
  std::int64_t k_page_ = 0, v_page_ = 0;
  key_order order_ = key_order::rows;
};

static_assert(kv_layout<paged_layout>);

GQA_NAMESPACE_END
