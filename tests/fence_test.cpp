// A cache is read where some query sees it and nowhere else: every memory page without a visible byte is fenced off, so
// that any other read ends the test.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <gqa/gqa.hpp>
#include <numeric>
#include <random>
#include <vector>

namespace {

/// Pages that end where `bytes` end, with a fence on both sides; all are fenced but those that `open` uncovers.
class fenced {
 public:
  explicit fenced(std::int64_t bytes) : page_(sysconf(_SC_PAGESIZE)) {
    const std::int64_t room = (bytes + page_ - 1) / page_ * page_;
    bytes_ = room + 2 * page_;
    void* p = mmap(nullptr, static_cast<std::size_t>(bytes_), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base_ = p == MAP_FAILED ? nullptr : static_cast<char*>(p);
    begin_ = page_ + room - bytes;
  }
  ~fenced() {
    if (base_) munmap(base_, static_cast<std::size_t>(bytes_));
  }
  fenced(const fenced&) = delete;
  fenced& operator=(const fenced&) = delete;

  [[nodiscard]] char* data() const { return base_ ? base_ + begin_ : nullptr; }
  /// Opens the pages that hold bytes [first, last) of the data.
  void open(std::int64_t first, std::int64_t last) {
    const std::int64_t from = (begin_ + first) / page_ * page_, to = (begin_ + last + page_ - 1) / page_ * page_;
    ASSERT_EQ(mprotect(base_ + from, static_cast<std::size_t>(to - from), PROT_READ | PROT_WRITE), 0);
  }

 private:
  std::int64_t page_, bytes_ = 0, begin_ = 0;
  char* base_ = nullptr;
};

struct shape {
  std::int64_t q_heads, kv_heads, dim, q_len, kv_len, window, sink_tokens;
};

/// Short and long units, single and several rows, interleaved heads and one head at a time; 1024 tokens fill pages.
const shape shapes[] = {{4, 4, 64, 1, 700, -1, 0},   {8, 2, 128, 1, 1100, -1, 0}, {16, 2, 80, 3, 900, 640, 20},
                        {32, 1, 128, 9, 600, -1, 0}, {6, 2, 72, 1, 3000, 130, 4}, {3, 3, 130, 1, 1300, 1000, 0},
                        {2, 2, 64, 1, 1024, -1, 0},  {4, 2, 128, 1, 1024, -1, 0}, {14, 2, 64, 1, 1024, -1, 0}};

template <class Element, class Layout>
void expect_only_visible_reads(const shape& s, const Layout& layout) {
  const std::int64_t size = sizeof(Element);
  const bool tiles = layout.order() == gqa::key_order::tiles;
  fenced k(layout.k_extent(s.kv_heads, s.dim).value * size), v(layout.v_extent(s.kv_heads, s.dim).value * size);
  ASSERT_NE(k.data(), nullptr);
  ASSERT_NE(v.data(), nullptr);
  const gqa::visibility visible{true, s.window, s.sink_tokens};
  const gqa::visible_keys seen = visible.of_any(s.kv_len - s.q_len, s.kv_len - 1, s.kv_len);
  for (std::int64_t t = 0; t < s.kv_len; ++t) {
    if (!seen.sees(t)) continue;
    const gqa::kv_run run = layout.run_at(0, t);
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      const std::int64_t tile = tiles ? t % gqa::tile_tokens : 0, rows = tiles ? gqa::tile_tokens : 1;
      const std::int64_t key = (run.k - tile + h * layout.k_strides().head) * size;
      const std::int64_t value = (run.v + h * layout.v_strides().head) * size;
      k.open(key, key + s.dim * rows * size);
      v.open(value, value + s.dim * size);
    }
  }
  gqa::dynamic_spec spec;
  spec.heads = {s.q_heads, s.kv_heads};
  spec.dims = {s.dim, s.dim};
  spec.window = s.window;
  spec.sink_tokens = s.sink_tokens;
  gqa::batch_spec batch;
  batch.q_lens = s.q_len;
  batch.kv_lens = s.kv_len;
  std::vector<float> q(s.q_len * s.q_heads * s.dim, 1.0f), out(q.size(), 1.0f);
  gqa::attention_io<gqa::types<float, Element, Element, float>> io;
  io.q = q.data();
  io.k = reinterpret_cast<const Element*>(k.data());
  io.v = reinterpret_cast<const Element*>(v.data());
  io.out = out.data();
  for (const gqa::isa target : gqa::all_isas) {
    if (!gqa::is_supported(target)) continue;
    for (std::int64_t shares : {1, 3}) {
      gqa::plan_options options;
      options.target = target;
      options.shares = shares;
      const gqa::status done = gqa::try_attend(spec, batch, layout, io, {}, options);
      ASSERT_TRUE(done.ok()) << done.message();
      for (float x : out) ASSERT_EQ(x, 0.0f);  // values of fresh pages are zero
    }
  }
}

template <class Element>
void expect_in_every_layout() {
  using contiguous = gqa::contiguous_layout;
  using paged = gqa::paged_layout;
  for (const shape& s : shapes) {
    expect_only_visible_reads<Element>(s, contiguous::token_major(1, s.kv_len, s.kv_heads, s.dim, s.dim));
    expect_only_visible_reads<Element>(s, contiguous::head_major(1, s.kv_len, s.kv_heads, s.dim, s.dim));
    const std::int64_t capacity = gqa::round_up(s.kv_len, 16) + 512;
    expect_only_visible_reads<Element>(s, contiguous::token_major(1, capacity, s.kv_heads, s.dim, s.dim));
    expect_only_visible_reads<Element>(s, contiguous::head_major(1, capacity, s.kv_heads, s.dim, s.dim));
    expect_only_visible_reads<Element>(s, contiguous::tiled(1, capacity, s.kv_heads, s.dim, s.dim));
    for (std::int64_t page_size : {1, 16, 48}) {
      const std::int64_t pages = gqa::divide_up(capacity, page_size);
      std::vector<std::int32_t> ids(static_cast<std::size_t>(pages));
      std::iota(ids.begin(), ids.end(), 0);
      std::shuffle(ids.begin(), ids.end(), std::mt19937(5));
      const auto table = gqa::page_table_view::padded(ids.data(), 1, pages);
      expect_only_visible_reads<Element>(s, paged::token_major(table, pages, page_size, s.kv_heads, s.dim, s.dim));
      if (page_size % 16 != 0) continue;
      expect_only_visible_reads<Element>(s, paged::head_major(table, pages, page_size, s.kv_heads, s.dim, s.dim));
      expect_only_visible_reads<Element>(s, paged::tiled(table, pages, page_size, s.kv_heads, s.dim, s.dim));
    }
  }
}

TEST(Fence, OnlyVisibleRowsOfF32AreRead) { expect_in_every_layout<float>(); }
TEST(Fence, OnlyVisibleRowsOfF16AreRead) { expect_in_every_layout<gqa::f16>(); }
TEST(Fence, OnlyVisibleRowsOfBf16AreRead) { expect_in_every_layout<gqa::bf16>(); }

}  // namespace
