// What a unit prefetches while it reads interleaved heads: of the tokens that come next, every line, and each once.
#include <gqa/plan/reading_order.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace {

using gqa::line_bytes;
using gqa::row_group;
using gqa::detail::lead;
using gqa::detail::reading_pace;
using gqa::detail::row_pitch;
using gqa::detail::unit_shape;

// Rows of `bytes` each, of all heads of a token and then of the next.
unit_shape interleaved(std::int64_t heads, std::int64_t rows, std::int64_t element, std::int64_t bytes) {
  const row_pitch pitch{element, bytes, bytes, heads * bytes};
  return {heads, rows, pitch, pitch};
}

// How often the visits of all heads prefetch each line of the tokens that come next.
std::vector<int> prefetched(const reading_pace& pace, std::int64_t heads, std::int64_t row_bytes) {
  std::vector<char> next(static_cast<std::size_t>(pace.step * heads * row_bytes));
  std::vector<int> count(next.size() / line_bytes);
  for (std::int64_t head = 0; head < heads; ++head) {
    const gqa::rows_ahead share = gqa::detail::share_of_next(pace, head, heads, row_bytes, next.data());
    EXPECT_EQ(share.offsets, nullptr);
    for (std::int64_t row = 0; row < pace.step; ++row)
      for (std::int64_t at = 0; at < row_bytes; at += line_bytes) {
        const std::int64_t byte = share.base - next.data() + row * share.stride + share.spread * at;
        EXPECT_EQ(byte % line_bytes, 0);
        ++count.at(static_cast<std::size_t>(byte / line_bytes));
      }
  }
  return count;
}

TEST(ReadingOrder, InterleavedRowsThatComeNextArePrefetchedOnce) {
  for (std::int64_t heads : {2, 3, 4, 8, 32})
    for (std::int64_t element : {2, 4})
      for (std::int64_t rows : {2, 3, 4, 7, 8, 16, 32})
        for (std::int64_t bytes : {128, 320, 512, 1024}) {
          const unit_shape u = interleaved(heads, rows, element, bytes);
          const gqa::detail::reading_order order = gqa::detail::order_of(u);
          ASSERT_TRUE(order.keys.in_one_piece());
          for (const reading_pace& pace : {order.keys, order.values}) {
            if (!pace.in_one_piece()) continue;
            const std::vector<int> once(static_cast<std::size_t>(pace.step * heads * bytes / line_bytes), 1);
            EXPECT_EQ(prefetched(pace, heads, bytes), once) << heads << " heads, " << rows << " rows of " << bytes;
          }
        }
}

TEST(ReadingOrder, WhereReadingBindsSeveralPagesComeSideBySide) {
  EXPECT_EQ(gqa::detail::order_of(interleaved(8, 4, 4, 512)).keys.ahead, lead::pages);
  EXPECT_EQ(gqa::detail::order_of(interleaved(8, 4, 2, 256)).keys.ahead, lead::rows);
  EXPECT_EQ(gqa::detail::order_of(interleaved(8, 4, 4, 80)).keys.ahead, lead::rows) << "a row of no whole lines";
}

TEST(ReadingOrder, RowsThatDoNotTouchArePrefetchedByVisits) {
  for (const row_pitch pitch :
       {row_pitch{4, 512, 512, 8192}, row_pitch{4, 512, 1024, 4096}, row_pitch{4, 512, 1 << 20, 512}}) {
    const gqa::detail::reading_order order = gqa::detail::order_of({8, 4, pitch, pitch});
    EXPECT_EQ(order.keys.ahead, lead::visits);
    EXPECT_EQ(order.values.ahead, lead::visits);
  }
}

TEST(ReadingOrder, AVisitLaterMovesOnThroughTheHeadsThenTheTokens) {
  const reading_pace pace{row_group, lead::visits};
  for (std::int64_t heads : {1, 2, 3, 8})
    for (std::int64_t head = 0; head < heads; ++head) {
      const gqa::detail::visit later = pace.later(head, heads);
      const std::int64_t visits = later.token / pace.step * heads + later.head - head;
      EXPECT_LT(later.head, heads);
      EXPECT_EQ(visits, heads == 1 ? 1 : 2);
    }
  const gqa::detail::visit same = reading_pace{row_group, lead::nothing}.later(5, 8);
  EXPECT_EQ(same.head, 5);
  EXPECT_EQ(same.token, 0);
}

}  // namespace
