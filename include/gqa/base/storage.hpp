// Element types: what q, out and the cache may be stored as. Arithmetic is always f32; conversion to f32 is exact, and
// conversion from f32 rounds to nearest even. Eigen's types carry the 16 bits; the conversions are the library's own
// (kernel/load.inl.hpp), since Eigen's differ on NaN by compiler flags.
#pragma once

#include <Eigen/Core>
#include <concepts>
#include <cstdint>

#include "config.hpp"

GQA_NAMESPACE_BEGIN

using f16 = Eigen::half;
using bf16 = Eigen::bfloat16;

enum class element : std::uint8_t { f32, f16, bf16 };

namespace detail {
template <class T>
inline constexpr bool is_storage = false;
template <>
inline constexpr bool is_storage<float> = true;
template <>
inline constexpr bool is_storage<f16> = true;
template <>
inline constexpr bool is_storage<bf16> = true;
}  // namespace detail

/// float, gqa::f16 or gqa::bf16.
template <class T>
concept storage = detail::is_storage<T>;

template <storage T>
inline constexpr element element_of = std::same_as<T, float> ? element::f32
                                      : std::same_as<T, f16> ? element::f16
                                                             : element::bf16;

[[nodiscard]] constexpr const char* name(element e) noexcept {
  return e == element::f32 ? "f32" : e == element::f16 ? "f16" : "bf16";
}

[[nodiscard]] constexpr std::int64_t bytes_of(element e) noexcept { return e == element::f32 ? 4 : 2; }

GQA_NAMESPACE_END
