// A small valid call that tests break in one place, and the check that it is refused by name with nothing written.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <gqa/gqa.hpp>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

namespace gqa_test {

using gqa::errc;
using f32_types = gqa::types<float, float, float, float>;
inline constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
inline constexpr float untouched_value = 777;

/// Two sequences of 2 and 3 queries over 5 and 6 tokens; room for 8. Valid as constructed; tests break one thing.
template <class Layout>
struct call {
  gqa::dynamic_spec spec;
  std::vector<std::int64_t> q_lens{2, 3}, kv_lens{5, 6}, q_start{3, 3};
  gqa::batch_spec batch;
  Layout layout;
  gqa::tensor_layouts tensors;
  gqa::plan_options options;
  std::vector<float> q = std::vector<float>(2 * 3 * 4 * 8), k = std::vector<float>(512, 0.25f),
                     v = std::vector<float>(512, 2.0f), bias = std::vector<float>(2 * 4 * 3 * 8),
                     head_values = std::vector<float>(4), out = std::vector<float>(2 * 3 * 4 * 8 + 1, untouched_value),
                     lse = std::vector<float>(2 * 3 * 4 + 1, untouched_value);
  std::vector<std::uint8_t> mask = std::vector<std::uint8_t>(2 * 4 * 3 * 8, 1);
  gqa::attention_io<f32_types> io;

  call() {
    spec.heads = {4, 2};
    spec.dims = {8, 8};
    spec.lse = spec.bias = spec.mask = spec.alibi = spec.sinks = true;
    batch = {2, q_lens, kv_lens, {}};
    tensors.bias = tensors.mask = {4 * 3 * 8, 3 * 8, 8, 1};
    io.q = q.data();
    io.k = k.data();
    io.v = v.data();
    io.out = out.data();
    io.lse = lse.data();
    io.bias = bias.data();
    io.mask = mask.data();
    io.alibi_slopes = io.sinks = head_values.data();
  }
  call(const call&) = delete;

  gqa::status attempt() { return gqa::try_attend(spec, batch, layout, io, tensors, options); }
  [[nodiscard]] bool untouched() const {
    const auto same = [](const std::vector<float>& x) {
      for (const float e : x)
        if (e != untouched_value) return false;
      return true;
    };
    return same(out) && same(lse);
  }
};

struct contiguous_call : call<gqa::contiguous_layout> {
  contiguous_call() { layout = gqa::contiguous_layout::token_major(2, 8, 2, 8, 8); }
};

/// Pages of 4 tokens: 0 and 3 for sequence 0, 2 and 1 for sequence 1; slots that no token needs hold nonsense.
struct paged_call : call<gqa::paged_layout> {
  std::vector<std::int32_t> ids{0, 3, -5, 2, 1, 99}, indptr{0, 3, 6};
  paged_call() { layout = make(4, 4); }
  gqa::paged_layout make(std::int64_t pages, std::int64_t page_size, std::int64_t width = 3) {
    return gqa::paged_layout::token_major(gqa::page_table_view::padded(ids.data(), 2, width), pages, page_size, 2, 8,
                                          8);
  }
};

enum class kind { value, overflow, null, misaligned, overlap, unsupported };

[[nodiscard]] inline bool matches(errc code, kind k) {
  switch (k) {
    case kind::value: return code == errc::invalid_argument || code == errc::out_of_range;
    case kind::overflow: return code == errc::overflow;
    case kind::null: return code == errc::null_pointer;
    case kind::misaligned: return code == errc::misaligned;
    case kind::overlap: return code == errc::overlap;
    case kind::unsupported: return code == errc::unsupported;
  }
  return false;
}

/// The argument named is one of `names` or a part of it ("q" for "q.token").
[[nodiscard]] inline bool names_one_of(const char* argument, std::initializer_list<const char*> names) {
  const std::string text = argument;
  for (const std::string name : names)
    if (text == name || text.rfind(name + ".", 0) == 0) return true;
  return false;
}

template <class Call>
void expect_refused(kind k, std::initializer_list<const char*> names, const std::function<void(Call&)>& change) {
  Call c;
  change(c);
  const gqa::status s = c.attempt();
  EXPECT_FALSE(s.ok()) << "accepted; expected a complaint about " << *names.begin();
  if (s.ok()) return;
  EXPECT_TRUE(matches(s.code, k)) << gqa::name(s.code) << ": " << s.message();
  EXPECT_TRUE(names_one_of(s.argument, names)) << s.message() << " (expected " << *names.begin() << ")";
  EXPECT_STRNE(s.expected, "") << s.message();
  EXPECT_TRUE(c.untouched()) << "written to in spite of: " << s.message();
}

inline void refused(kind k, std::initializer_list<const char*> names,
                    const std::function<void(contiguous_call&)>& change) {
  expect_refused<contiguous_call>(k, names, change);
}
inline void refused_paged(kind k, std::initializer_list<const char*> names,
                          const std::function<void(paged_call&)>& change) {
  expect_refused<paged_call>(k, names, change);
}

}  // namespace gqa_test
