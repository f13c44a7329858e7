// 64-bit sizes that refuse to wrap. Every product or sum of sizes that a caller supplied goes through here.
#pragma once

#include <cstdint>

#include "config.hpp"

GQA_NAMESPACE_BEGIN

/// A size computation; once it has overflowed it stays overflowed.
struct checked {
  std::int64_t value = 0;
  bool overflowed = false;

  constexpr checked(std::int64_t v) noexcept : value(v) {}  // NOLINT: implicit, so that formulas read as formulas

  friend constexpr checked operator+(checked a, checked b) noexcept {
    checked r = 0;
    r.overflowed = __builtin_add_overflow(a.value, b.value, &r.value) || a.overflowed || b.overflowed;
    return r;
  }
  friend constexpr checked operator*(checked a, checked b) noexcept {
    checked r = 0;
    r.overflowed = __builtin_mul_overflow(a.value, b.value, &r.value) || a.overflowed || b.overflowed;
    return r;
  }
};

/// The value, or the largest one where it overflowed: a stride too large for 64 bits stays too large to pass a check.
[[nodiscard]] constexpr std::int64_t saturated(checked c) noexcept { return c.overflowed ? INT64_MAX : c.value; }

[[nodiscard]] constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) noexcept {
  return (n + multiple - 1) / multiple * multiple;
}
[[nodiscard]] constexpr std::int64_t divide_up(std::int64_t n, std::int64_t d) noexcept { return (n + d - 1) / d; }

GQA_NAMESPACE_END
