// Eigen matrices, maps, blocks and refs as tensors: the pointers and strides taken from them, and appends from them.
#include <gtest/gtest.h>

#include <concepts>
#include <gqa/base/eigen_view.hpp>
#include <gqa/kv/paged_cache.hpp>
#include <gqa/plan/request.hpp>

#include "support/cache_model.hpp"

namespace gqa_test {
namespace {

using gqa::bf16;
using gqa::cache_order;
using gqa::errc;
using gqa::f16;
using gqa::kv_cache;
using gqa::paged_kv_cache;

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using matrix_of = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

TEST(EigenView, MatricesMapsBlocksRefsAndTransposes) {
  matrix m = matrix::Random(5, 12);
  const matrix& constant = m;
  const auto whole = gqa::rows_of(m, 3, 4);
  static_assert(std::same_as<decltype(whole.data), float*>);
  static_assert(std::same_as<decltype(gqa::rows_of(constant, 3, 4).data), const float*>);
  EXPECT_EQ(whole.data, m.data());
  EXPECT_EQ(whole.tokens, 5);
  EXPECT_EQ(whole.heads, 3);
  EXPECT_EQ(whole.dim, 4);
  const auto q = whole.strides<gqa::row_layout>();
  EXPECT_EQ(q.token, 12);
  EXPECT_EQ(q.head, 4);
  EXPECT_EQ(q.batch, 0);
  EXPECT_FALSE(q.first_token.present());
  EXPECT_EQ(whole.strides<gqa::kv_strides>().token, 12);
  EXPECT_EQ(whole.strides<gqa::kv_strides>().head, 4);

  // The keys of a fused projection: columns 4 to 11 of rows 1 to 3.
  const auto block = gqa::rows_of(m.block(1, 4, 3, 8), 2, 4);
  EXPECT_EQ(block.data, &m(1, 4));
  EXPECT_EQ(block.tokens, 3);
  EXPECT_EQ(block.strides<gqa::kv_strides>().token, 12);
  EXPECT_EQ(block.strides<gqa::kv_strides>().head, 4);
  static_assert(std::same_as<decltype(gqa::rows_of(constant.middleCols(4, 8), 2, 4).data), const float*>);

  const std::vector<bf16> raw(2 * 20);
  const Eigen::Map<const matrix_of<bf16>, 0, Eigen::OuterStride<>> map(raw.data(), 2, 6, Eigen::OuterStride<>(20));
  const auto mapped = gqa::rows_of(map, 1, 6);
  EXPECT_EQ(mapped.data, raw.data());
  EXPECT_EQ(mapped.strides<gqa::row_layout>().token, 20);

  Eigen::Ref<matrix> ref = m;
  EXPECT_EQ(gqa::rows_of(ref, 3, 4).data, m.data());

  Eigen::MatrixXf columns = Eigen::MatrixXf::Random(12, 5);  // column-major: its transpose has tokens as rows
  const auto transposed = gqa::rows_of(columns.transpose(), 3, 4);
  EXPECT_EQ(transposed.data, columns.data());
  EXPECT_EQ(transposed.tokens, 5);
  EXPECT_EQ(transposed.strides<gqa::kv_strides>().token, 12);

  Eigen::Matrix<f16, 1, Eigen::Dynamic> one_token(12);
  EXPECT_EQ(gqa::rows_of(one_token, 3, 4).tokens, 1);
  matrix nothing(0, 12);
  EXPECT_EQ(gqa::rows_of(nothing, 3, 4).tokens, 0);
}

TEST(EigenView, Refusals) {
  matrix m = matrix::Random(5, 12);
  gqa::token_rows<float> view;
  expect_failure(gqa::try_rows_of(view, m, 3, 5), errc::invalid_argument, "matrix.cols()", 12);
  expect_failure(gqa::try_rows_of(view, m, 0, 4), errc::invalid_argument, "heads", 0);
  expect_failure(gqa::try_rows_of(view, m, 3, -4), errc::invalid_argument, "dim", -4);
  expect_failure(gqa::try_rows_of(view, m, INT64_MAX, 4), errc::invalid_argument, "matrix.cols()", 12);
  using strided = Eigen::Map<matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  strided every_other(m.data(), 5, 6, {12, 2});
  expect_failure(gqa::try_rows_of(view, every_other, 1, 6), errc::invalid_argument, "matrix.innerStride()", 2);
  strided side_by_side(m.data(), 5, 6, {12, 1});
  EXPECT_TRUE(gqa::try_rows_of(view, side_by_side, 1, 6).ok());
  Eigen::MatrixXf columns = Eigen::MatrixXf::Random(3, 6);
  expect_failure(gqa::try_rows_of(view, columns.row(1), 1, 6), errc::invalid_argument, "matrix.innerStride()", 3);
  strided backwards(m.data() + 48, 5, 6, {-12, 1});
  expect_failure(gqa::try_rows_of(view, backwards, 1, 6), errc::invalid_argument, "matrix.outerStride()", -12);
  EXPECT_THROW(static_cast<void>(gqa::rows_of(m, 3, 5)), gqa::error);
}

TEST(EigenView, AppendsToBothCaches) {
  const matrix fused = matrix::Random(6, 20);  // [q q k k v v], dims 4, 4 and 2
  kv_cache<float> rows({1, 8, 2, 4, 2, cache_order::tiled});
  paged_kv_cache<float> pages(
      {.num_pages = 4, .page_size = 3, .sequences = 1, .max_pages = 4, .kv_heads = 2, .head_dim = 4, .v_head_dim = 2});
  cache_model<float, float> m{{2, 4, 2}, std::vector<cache_model<float, float>::sequence>(1)};
  for (std::int64_t t = 0; t < 6; ++t)
    m.append(0, {&fused(t, 8), &fused(t, 8) + 8}, {&fused(t, 16), &fused(t, 16) + 4});
  for (const auto& [begin, tokens] : {std::pair{0, 1}, {1, 5}}) {
    const auto k = gqa::rows_of(fused.block(begin, 8, tokens, 8), 2, 4);
    const auto v = gqa::rows_of(fused.block(begin, 16, tokens, 4), 2, 2);
    rows.append(0, k, v);
    pages.append(0, k, v);
  }
  expect_holds(rows, m);
  expect_holds(pages, m);
  const matrix wrong = matrix::Random(1, 6);
  expect_failure(rows.try_append(0, gqa::rows_of(wrong, 2, 3), gqa::rows_of(wrong, 2, 3)), errc::invalid_argument, "k",
                 3);
  expect_failure(pages.try_append(0, gqa::rows_of(wrong, 3, 2), gqa::rows_of(wrong, 2, 3)), errc::invalid_argument, "k",
                 3);
  EXPECT_EQ(rows.length(0), 6);
  EXPECT_EQ(pages.length(0), 6);
}

TEST(EigenView, ChecksHeadsDimsAndTokens) {
  const matrix k = matrix::Random(5, 8), v = matrix::Random(5, 6), short_v = matrix::Random(4, 6);
  const gqa::kv_shape s{2, 4, 3};
  gqa::kv_source<float> source;
  ASSERT_TRUE(gqa::make_source(source, gqa::rows_of(k, 2, 4), gqa::rows_of(v, 2, 3), s).ok());
  EXPECT_EQ(source.k, k.data());
  EXPECT_EQ(source.v, v.data());
  EXPECT_EQ(source.k_strides.token, 8);
  EXPECT_EQ(source.k_strides.head, 4);
  EXPECT_EQ(source.v_strides.token, 6);
  EXPECT_EQ(source.v_strides.head, 3);
  const gqa::status heads = gqa::make_source(source, gqa::rows_of(k, 4, 2), gqa::rows_of(v, 2, 3), s);
  EXPECT_EQ(heads.code, errc::invalid_argument);
  EXPECT_STREQ(heads.argument, "k");
  EXPECT_EQ(heads.value, 4);
  const gqa::status dim = gqa::make_source(source, gqa::rows_of(k, 2, 4), gqa::rows_of(k, 2, 4), s);
  EXPECT_STREQ(dim.argument, "v");
  EXPECT_EQ(dim.value, 4);
  const gqa::status tokens = gqa::make_source(source, gqa::rows_of(k, 2, 4), gqa::rows_of(short_v, 2, 3), s);
  EXPECT_STREQ(tokens.argument, "v.tokens");
  EXPECT_EQ(tokens.value, 4);
}

}  // namespace
}  // namespace gqa_test
