// Conversions between the storage types, on bits alone: pure integer arithmetic, so that no compiler flag (-ffast-math)
// and no FTZ/DAZ state of the caller can change a bit.
//
//   widening (f16, bf16 -> f32)    exact, subnormals included
//   narrowing (f32 -> f16, bf16)   to nearest, ties to even; subnormals exact; past the largest finite value: inf
//   NaN                            stays NaN of the same sign, made quiet; the payload's top bits are kept
//
// Copies between equal types keep every bit, signalling NaN included. f16 <-> bf16 goes through f32: one rounding.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "storage.hpp"

GQA_NAMESPACE_BEGIN

namespace detail {
inline constexpr std::uint32_t f32_sign = 0x80000000u, f32_inf = 0x7f800000u, f32_quiet = 0x00400000u;
}  // namespace detail

[[nodiscard]] constexpr std::uint32_t f32_bits_from_f16(std::uint16_t h) noexcept {
  const std::uint32_t sign = std::uint32_t{h & 0x8000u} << 16;
  const std::uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    const std::uint32_t payload = magnitude & 0x3ffu;
    return sign | detail::f32_inf | payload << 13 | (payload ? detail::f32_quiet : 0u);
  }
  if (magnitude >= 0x0400u) return sign | ((magnitude << 13) + (112u << 23));  // exponent bias 15 -> 127
  if (magnitude == 0) return sign;
  // magnitude * 2^-24 with its leading one at bit p; adding that one to the field below makes the exponent p + 103.
  const std::uint32_t p = 31u - static_cast<std::uint32_t>(std::countl_zero(magnitude));
  return sign | (((p + 102u) << 23) + (magnitude << (23u - p)));
}

[[nodiscard]] constexpr std::uint32_t f32_bits_from_bf16(std::uint16_t b) noexcept {
  const std::uint32_t x = std::uint32_t{b} << 16;
  return (x & ~detail::f32_sign) > detail::f32_inf ? x | detail::f32_quiet : x;
}

[[nodiscard]] constexpr std::uint16_t f16_bits_from_f32(std::uint32_t x) noexcept {
  const std::uint32_t sign = (x & detail::f32_sign) >> 16;
  const std::uint32_t magnitude = x & ~detail::f32_sign;
  std::uint32_t r = 0;
  if (magnitude > detail::f32_inf) {
    r = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 113u << 23) {  // normal in f16: 2^-14 and up
    const std::uint32_t rebased = magnitude - (112u << 23);
    r = (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13;
    r = r < 0x7c00u ? r : 0x7c00u;
  } else {  // a multiple of 2^-24; what lies below half of it vanishes, f32's own subnormals with it
    const std::uint32_t exponent = magnitude >> 23;
    const std::uint32_t shift = exponent >= 101u ? 126u - exponent : 31u;
    const std::uint32_t significand = (magnitude & 0x007fffffu) | 0x00800000u;
    r = (significand + (1u << (shift - 1u)) - 1u + (significand >> shift & 1u)) >> shift;
  }
  return static_cast<std::uint16_t>(sign | r);
}

[[nodiscard]] constexpr std::uint16_t bf16_bits_from_f32(std::uint32_t x) noexcept {
  const std::uint32_t nan = x >> 16 | 0x0040u;
  const std::uint32_t rounded = (x + 0x7fffu + (x >> 16 & 1u)) >> 16;  // carries from finite into inf; inf stays
  return static_cast<std::uint16_t>((x & ~detail::f32_sign) > detail::f32_inf ? nan : rounded);
}

/// The unsigned integer that holds an element's bits.
template <storage T>
using bits_t = std::conditional_t<std::same_as<T, float>, std::uint32_t, std::uint16_t>;

/// f32 bits of an element's bits.
template <storage T>
[[nodiscard]] constexpr std::uint32_t widen_bits(bits_t<T> bits) noexcept {
  if constexpr (std::same_as<T, f16>) return f32_bits_from_f16(bits);
  else if constexpr (std::same_as<T, bf16>) return f32_bits_from_bf16(bits);
  else return bits;
}

/// An element's bits from f32 bits.
template <storage T>
[[nodiscard]] constexpr bits_t<T> narrow_bits(std::uint32_t bits) noexcept {
  if constexpr (std::same_as<T, f16>) return f16_bits_from_f32(bits);
  else if constexpr (std::same_as<T, bf16>) return bf16_bits_from_f32(bits);
  else return bits;
}

template <storage T>
[[nodiscard]] constexpr float to_float(T x) noexcept {
  return std::bit_cast<float>(widen_bits<T>(std::bit_cast<bits_t<T>>(x)));
}

template <storage T>
[[nodiscard]] constexpr T from_float(float x) noexcept {
  return std::bit_cast<T>(narrow_bits<T>(std::bit_cast<std::uint32_t>(x)));
}

/// dst[i * dst_stride] = src[i], i < n. The ranges must not overlap.
template <storage D, storage S>
inline void convert_row(D* dst, const S* src, std::int64_t n, std::int64_t dst_stride) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    bits_t<S> in;
    std::memcpy(&in, src + i, sizeof in);
    bits_t<D> out;
    if constexpr (std::same_as<D, S>) out = in;
    else out = narrow_bits<D>(widen_bits<S>(in));
    std::memcpy(static_cast<void*>(dst + i * dst_stride), &out, sizeof out);
  }
}

/// dst[i] = src[i], i < n. The ranges must not overlap.
template <storage D, storage S>
inline void convert_row(D* dst, const S* src, std::int64_t n) noexcept {
  if constexpr (std::same_as<D, S>) {
    if (n > 0) std::memcpy(static_cast<void*>(dst), src, static_cast<std::size_t>(n) * sizeof(D));
  } else {
    convert_row(dst, src, n, 1);
  }
}

GQA_NAMESPACE_END
