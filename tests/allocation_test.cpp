// run and update allocate nothing: every form of operator new counts while they work.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <gqa/gqa.hpp>
#include <new>
#include <vector>

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment = 16) {
  if (counting) ++allocations;
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment + alignment);
  if (!p) std::abort();
  return p;
}
}  // namespace

void* operator new(std::size_t n) { return counted(n); }
void* operator new[](std::size_t n) { return counted(n); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void* operator new(std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

template <class Body>
int allocations_of(const Body& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

/// Decode, verification and prefill of a ragged batch on `layout`, in one share and in five.
template <class Layout>
void expect_no_allocations(const Layout& layout, std::int64_t elements) {
  using plan_type = gqa::attention_plan<gqa::types<float>, Layout>;
  gqa::attention_spec<gqa::heads<8, 2>, gqa::dims<32>> spec;
  spec.lse = true;
  const std::vector<std::int64_t> short_q{1, 0, 4}, long_q{100, 7, 300}, kv{900, 0, 301}, longer_kv{901, 8, 700};
  std::vector<float> q(3 * 300 * 8 * 32, 0.5f), k(elements, 0.25f), v(elements, 1.0f), out(q.size()), lse(3 * 300 * 8);
  gqa::attention_io<gqa::types<float>> io{
      .q = q.data(), .k = k.data(), .v = v.data(), .out = out.data(), .lse = lse.data()};
  for (std::int64_t shares : {1, 5}) {
    gqa::batch_spec first, second;
    first.size = second.size = 3;
    first.q_lens = short_q;
    first.kv_lens = kv;
    second.q_lens = long_q;
    second.kv_lens = longer_kv;
    plan_type plan;
    const gqa::status made = plan_type::make(plan, spec, first, layout, {}, {.shares = shares, .max_q_len = 300});
    ASSERT_TRUE(made.ok()) << made.message();
    std::vector<std::byte> workspace(plan.workspace_bytes());
    const gqa::sequential_executor executor;
    gqa::status ran, updated, ran_again;
    EXPECT_EQ(allocations_of([&] { ran = plan.run(io, workspace, executor); }), 0);
    EXPECT_EQ(allocations_of([&] { updated = plan.update(second, layout); }), 0);
    EXPECT_EQ(allocations_of([&] { ran_again = plan.run(io, workspace, executor); }), 0);
    EXPECT_TRUE(ran.ok()) << ran.message();
    EXPECT_TRUE(updated.ok()) << updated.message();
    EXPECT_TRUE(ran_again.ok()) << ran_again.message();
  }
}

TEST(Allocation, TheCounterCounts) {
  EXPECT_GE(allocations_of([] {
              std::vector<int> v(10);
              v[3] = 1;
              ASSERT_EQ(v[3], 1);
            }),
            1);
}

TEST(Allocation, RunAndUpdateOfAContiguousCacheAllocateNothing) {
  expect_no_allocations(gqa::contiguous_layout::token_major(3, 1024, 2, 32, 32), 3 * 1024 * 2 * 32);
  expect_no_allocations(gqa::contiguous_layout::tiled(3, 1024, 2, 32, 32), 3 * 1024 * 2 * 32);
}

TEST(Allocation, RunAndUpdateOfAPagedCacheAllocateNothing) {
  std::vector<std::int32_t> table(3 * 128);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>(table.size() - 1 - i);
  expect_no_allocations(
      gqa::paged_layout::head_major(gqa::page_table_view::padded(table.data(), 3, 128), 384, 8, 2, 32, 32),
      384 * 8 * 2 * 32);
}

}  // namespace
