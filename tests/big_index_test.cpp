// 64-bit throughout: caches whose element offsets pass 2^31, 2^32 and 2^33, and positions near 2^40. The memory is
// reserved, not used: only the tokens that a query sees are ever touched, which is itself part of what is tested.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <gqa/gqa.hpp>
#include <random>
#include <vector>

namespace {

constexpr std::int64_t q_heads = 4, kv_heads = 2, dim = 64, row = kv_heads * dim;

/// Address space for `elements` floats, zero until written.
class reserved {
 public:
  explicit reserved(std::int64_t elements) : bytes_(static_cast<std::size_t>(elements) * sizeof(float)) {
    void* p = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = p == MAP_FAILED ? nullptr : static_cast<float*>(p);
  }
  ~reserved() {
    if (data_) munmap(data_, bytes_);
  }
  reserved(const reserved&) = delete;
  reserved& operator=(const reserved&) = delete;
  [[nodiscard]] float* data() const { return data_; }

 private:
  std::size_t bytes_;
  float* data_ = nullptr;
};

struct tokens {
  std::vector<float> q, k, v;
  explicit tokens(std::int64_t count) : q(q_heads * dim), k(count * row), v(count * row) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (auto* x : {&q, &k, &v})
      for (float& e : *x) e = normal(random);
  }
};

template <class Layout>
std::vector<float> decode(const gqa::attention_spec<gqa::heads<q_heads, kv_heads>, gqa::dims<dim>>& spec,
                          const Layout& layout, std::int64_t kv_len, const float* q, const float* k, const float* v) {
  std::vector<float> out(q_heads * dim);
  gqa::batch_spec batch;
  batch.kv_lens = kv_len;
  gqa::attention_io<gqa::types<float>> io;
  io.q = q;
  io.k = k;
  io.v = v;
  io.out = out.data();
  const gqa::status s = gqa::try_attend(spec, batch, layout, io);
  EXPECT_TRUE(s.ok()) << s.message();
  return out;
}

void expect_same(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

TEST(BigIndex, PagesOnBothSidesOfEveryPowerOfTwo) {
  constexpr std::int64_t page_size = 16, count = 7 * page_size;
  constexpr std::int64_t page = page_size * row, num_pages = (std::int64_t{1} << 33) / page + 8;
  const reserved k(num_pages * page), v(num_pages * page);
  if (!k.data() || !v.data()) GTEST_FAIL() << "no address space for 64 GiB; nothing was tested";
  const std::int64_t at31 = (std::int64_t{1} << 31) / page, at32 = 2 * at31, at33 = 4 * at31;
  std::vector<std::int32_t> table;
  for (std::int64_t id : {at33 + 1, at31 - 1, at32, at31, at32 - 1, at33 - 1, std::int64_t{0}})
    table.push_back(static_cast<std::int32_t>(id));
  const tokens t(count);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t offset = table[i / page_size] * page + i % page_size * row;
    std::copy_n(&t.k[i * row], row, k.data() + offset);
    std::copy_n(&t.v[i * row], row, v.data() + offset);
  }
  const auto paged = gqa::paged_layout::token_major(gqa::page_table_view::padded(table.data(), 1, std::ssize(table)),
                                                    num_pages, page_size, kv_heads, dim, dim);
  const auto dense = gqa::contiguous_layout::token_major(1, count, kv_heads, dim, dim);
  expect_same(decode({}, paged, count, t.q.data(), k.data(), v.data()),
              decode({}, dense, count, t.q.data(), t.k.data(), t.v.data()));
}

TEST(BigIndex, ALastSequenceAndALongWindowedCache) {
  constexpr std::int64_t capacity = std::int64_t{1} << 25, count = 300;  // 2^32 elements of K a sequence
  const reserved k(2 * capacity * row), v(2 * capacity * row);
  if (!k.data() || !v.data()) GTEST_FAIL() << "no address space for 64 GiB; nothing was tested";
  const tokens t(count);
  std::copy_n(t.k.data(), count * row, k.data() + (2 * capacity - count) * row);
  std::copy_n(t.v.data(), count * row, v.data() + (2 * capacity - count) * row);

  gqa::attention_spec<gqa::heads<q_heads, kv_heads>, gqa::dims<dim>> spec;
  spec.window = count;
  std::vector<float> out(2 * q_heads * dim), q(t.q);
  q.insert(q.end(), t.q.begin(), t.q.end());
  gqa::batch_spec batch;
  const std::vector<std::int64_t> lengths{1, capacity};
  batch.size = 2;
  batch.kv_lens = lengths;
  gqa::attention_io<gqa::types<float>> io;
  io.q = q.data();
  io.k = k.data();
  io.v = v.data();
  io.out = out.data();
  const auto big = gqa::contiguous_layout::token_major(2, capacity, kv_heads, dim, dim);
  const gqa::status s = gqa::try_attend(spec, batch, big, io);
  ASSERT_TRUE(s.ok()) << s.message();

  // The same tokens at the same positions in a cache that holds only them.
  const std::vector<std::int64_t> first{capacity - count};
  const gqa::contiguous_layout late(1, count, {row, dim}, 0, {row, dim}, 0, gqa::key_order::rows, first);
  const std::vector<float> expected = decode(spec, late, capacity, t.q.data(), t.k.data(), t.v.data());
  EXPECT_EQ(std::memcmp(out.data() + q_heads * dim, expected.data(), expected.size() * sizeof(float)), 0);
}

TEST(BigIndex, PositionsFarBeyondWhatIsStored) {
  // Positions that differ by a multiple of every block, chunk and tree node in sight give the same bits.
  constexpr std::int64_t count = 700, far = std::int64_t{1} << 40;
  const tokens t(count);
  gqa::attention_spec<gqa::heads<q_heads, kv_heads>, gqa::dims<dim>> spec;
  spec.window = count;
  const std::vector<std::int64_t> near_first{1024}, far_first{far + 1024};
  const gqa::contiguous_layout here(1, count, {row, dim}, 0, {row, dim}, 0, gqa::key_order::rows, near_first);
  const gqa::contiguous_layout there(1, count, {row, dim}, 0, {row, dim}, 0, gqa::key_order::rows, far_first);
  expect_same(decode(spec, there, far + 1024 + count, t.q.data(), t.k.data(), t.v.data()),
              decode(spec, here, 1024 + count, t.q.data(), t.k.data(), t.v.data()));
}

}  // namespace
