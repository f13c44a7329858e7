// Row-major Eigen matrices, maps, blocks and refs as tensors: row = token, column = head * dim + d.
//
//   auto q = gqa::rows_of(Q, q_heads, head_dim);      io.q = q.data;  tensors.q = q.strides<gqa::row_layout>();
//   cache.append(seq, gqa::rows_of(K, kv_heads, head_dim), gqa::rows_of(V, kv_heads, v_head_dim));
//
// A view points into the matrix and must not outlive it.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "checked.hpp"
#include "status.hpp"
#include "storage.hpp"

GQA_NAMESPACE_BEGIN

/// [tokens][heads][dim]: `token` elements between tokens, dim between heads. T is const where the matrix is.
template <class T>
struct token_rows {
  static_assert(storage<std::remove_const_t<T>>, "elements are float, gqa::f16 or gqa::bf16");
  T* data = nullptr;
  std::int64_t tokens = 0, heads = 0, dim = 0;
  std::int64_t token = 0;

  /// As any struct of strides with members `token` and `head`: row_layout (q, out), kv_strides (append).
  template <class Strides>
  [[nodiscard]] constexpr Strides strides() const noexcept {
    Strides s{};
    s.token = token;
    s.head = dim;
    return s;
  }
};

/// Whether `rows` has the heads and the dim that a tensor called `argument` must have.
template <class T>
[[nodiscard]] constexpr status check_rows(const char* argument, const token_rows<T>& rows, std::int64_t heads,
                                          std::int64_t dim) noexcept {
  if (rows.heads != heads)
    return failure_bound(errc::invalid_argument, argument, rows.heads, "a view of as many heads as the cache has",
                         heads);
  if (rows.dim != dim)
    return failure_bound(errc::invalid_argument, argument, rows.dim,
                         "a view of as many elements a head as the cache has", dim);
  return {};
}

namespace detail {

template <class M>
inline constexpr bool is_owning_temporary =
    !std::is_lvalue_reference_v<M> &&
    std::is_base_of_v<Eigen::PlainObjectBase<std::remove_cvref_t<M>>, std::remove_cvref_t<M>>;

template <class M>
using element_of_matrix = std::remove_pointer_t<decltype(std::declval<M&>().data())>;

}  // namespace detail

/// A view of `matrix`, whose columns are `heads` heads of `dim` elements. Column-major expressions, expressions without
/// memory and temporaries that own theirs do not compile. Errors: columns that are not heads * dim, elements of a row
/// that do not lie side by side, a negative row stride.
template <class M>
[[nodiscard]] status try_rows_of(token_rows<detail::element_of_matrix<M>>& view, M&& matrix, std::int64_t heads,
                                 std::int64_t dim) noexcept {
  using plain = std::remove_cvref_t<M>;
  static_assert((plain::Flags & Eigen::DirectAccessBit) != 0, "the expression has no memory of its own to view");
  static_assert(plain::IsRowMajor, "rows are tokens: the matrix must be Eigen::RowMajor");
  static_assert(!detail::is_owning_temporary<M&&>, "the view would outlive this temporary");
  if (heads < 1) return failure(errc::invalid_argument, "heads", heads, "a positive count");
  if (dim < 1) return failure(errc::invalid_argument, "dim", dim, "a positive count");
  const checked columns = checked(heads) * dim;
  if (columns.overflowed || matrix.cols() != columns.value)
    return failure_bound(errc::invalid_argument, "matrix.cols()", matrix.cols(), "heads * dim", saturated(columns));
  if (columns.value > 1 && matrix.innerStride() != 1)
    return failure(errc::invalid_argument, "matrix.innerStride()", matrix.innerStride(),
                   "1: the elements of a row lie side by side");
  if (matrix.rows() > 1 && matrix.outerStride() < 0)
    return failure(errc::invalid_argument, "matrix.outerStride()", matrix.outerStride(), "a stride of at least 0");
  view = {matrix.data(), matrix.rows(), heads, dim, matrix.rows() > 1 ? matrix.outerStride() : columns.value};
  return {};
}

#if GQA_EXCEPTIONS
/// The same, throwing gqa::error.
template <class M>
[[nodiscard]] token_rows<detail::element_of_matrix<M>> rows_of(M&& matrix, std::int64_t heads, std::int64_t dim) {
  token_rows<detail::element_of_matrix<M>> view;
  throw_if_failed(try_rows_of(view, std::forward<M>(matrix), heads, dim));
  return view;
}
#endif

GQA_NAMESPACE_END
