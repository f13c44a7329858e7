// A read-only array of int32 or int64, as engines have them, or one number that stands for every element.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config.hpp"

GQA_NAMESPACE_BEGIN

/// Does not own: the array must outlive the view. `index_view(7)` is 7 everywhere and has any size.
class index_view {
 public:
  constexpr index_view() = default;                                                                       ///< absent
  constexpr index_view(std::int64_t everywhere) noexcept : uniform_(everywhere), kind_(kind::uniform) {}  // NOLINT
  constexpr index_view(int everywhere) noexcept : index_view(std::int64_t{everywhere}) {}                 // NOLINT
  constexpr index_view(std::span<const std::int32_t> v) noexcept                                          // NOLINT
      : narrow_(v.data()), size_(static_cast<std::int64_t>(v.size())), kind_(kind::narrow) {}
  constexpr index_view(std::span<const std::int64_t> v) noexcept  // NOLINT
      : wide_(v.data()), size_(static_cast<std::int64_t>(v.size())), kind_(kind::wide) {}
  index_view(const std::vector<std::int32_t>& v) noexcept : index_view(std::span<const std::int32_t>(v)) {}  // NOLINT
  index_view(const std::vector<std::int64_t>& v) noexcept : index_view(std::span<const std::int64_t>(v)) {}  // NOLINT

  [[nodiscard]] constexpr bool present() const noexcept { return kind_ != kind::absent; }
  /// Elements in the array; -1 where one number stands for all.
  [[nodiscard]] constexpr std::int64_t size() const noexcept { return kind_ == kind::uniform ? -1 : size_; }
  [[nodiscard]] constexpr bool covers(std::int64_t n) const noexcept { return kind_ == kind::uniform || size_ >= n; }
  [[nodiscard]] constexpr std::int64_t operator[](std::int64_t i) const noexcept {
    switch (kind_) {
      case kind::narrow: return narrow_[i];
      case kind::wide: return wide_[i];
      default: return uniform_;
    }
  }

 private:
  enum class kind : std::uint8_t { absent, uniform, narrow, wide };
  const std::int32_t* narrow_ = nullptr;
  const std::int64_t* wide_ = nullptr;
  std::int64_t size_ = 0;
  std::int64_t uniform_ = 0;
  kind kind_ = kind::absent;
};

GQA_NAMESPACE_END
