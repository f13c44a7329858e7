// What went wrong, without allocating: a code, the argument's name, its value and what was expected. The throwing form
// of the API wraps the same status in gqa::error.
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "config.hpp"

GQA_NAMESPACE_BEGIN

enum class errc : std::uint8_t {
  ok,
  invalid_argument,  // a value that no call accepts: zero sizes, counts that do not divide
  out_of_range,      // a length, position or page id outside what it points into
  overflow,          // a size whose product does not fit in 64 bits
  null_pointer,
  misaligned,   // a pointer not aligned to its element
  overlap,      // output bytes that are also input bytes
  unsupported,  // meaningful, but not in this build or on this machine
  out_of_memory,
  not_planned,  // run before a successful plan
};

[[nodiscard]] constexpr const char* name(errc code) noexcept {
  switch (code) {
    case errc::ok: return "ok";
    case errc::invalid_argument: return "invalid argument";
    case errc::out_of_range: return "out of range";
    case errc::overflow: return "overflow";
    case errc::null_pointer: return "null pointer";
    case errc::misaligned: return "misaligned";
    case errc::overlap: return "overlap";
    case errc::unsupported: return "unsupported";
    case errc::out_of_memory: return "out of memory";
    case errc::not_planned: return "not planned";
  }
  return "unknown";
}

/// The outcome of a checked call. All strings are literals; copying a status copies no memory.
struct [[nodiscard]] status {
  errc code = errc::ok;
  const char* argument = "";  ///< name of the offending argument, as the API spells it
  double real = 0;            ///< its value where it is a real number (is_real), else unused
  std::int64_t value = 0;     ///< its value (a pointer's address, for pointers)
  std::int64_t index = -1;    ///< which element of an array argument, or -1
  const char* expected = "";  ///< what would have been accepted
  std::int64_t bound = 0;     ///< the number `expected` refers to, printed behind it when has_bound
  bool has_bound = false;
  bool is_real = false;

  [[nodiscard]] constexpr bool ok() const noexcept { return code == errc::ok; }
  constexpr explicit operator bool() const noexcept { return ok(); }

  /// "kv_lens[3] is 5000: expected at most the cache's capacity (4096)"
  [[nodiscard]] std::string message() const {
    if (ok()) return "ok";
    char number[40];
    // Pieces are appended one by one: "[" + std::to_string(...) draws a false -Wrestrict from GCC 12 at -O3.
    std::string text = argument;
    if (index >= 0) {
      std::snprintf(number, sizeof number, "[%lld]", static_cast<long long>(index));
      text += number;
    }
    text += " is ";
    if (is_real) std::snprintf(number, sizeof number, "%g", real);
    else std::snprintf(number, sizeof number, "%lld", static_cast<long long>(value));
    text += number;
    text += ": expected ";
    text += expected;
    if (has_bound) {
      std::snprintf(number, sizeof number, " (%lld)", static_cast<long long>(bound));
      text += number;
    }
    return text;
  }
};

[[nodiscard]] constexpr status failure(errc code, const char* argument, std::int64_t value, const char* expected,
                                       std::int64_t index = -1) noexcept {
  status s;
  s.code = code;
  s.argument = argument;
  s.value = value;
  s.expected = expected;
  s.index = index;
  return s;
}

[[nodiscard]] constexpr status failure_bound(errc code, const char* argument, std::int64_t value, const char* expected,
                                             std::int64_t bound, std::int64_t index = -1) noexcept {
  status s = failure(code, argument, value, expected, index);
  s.bound = bound;
  s.has_bound = true;
  return s;
}

[[nodiscard]] constexpr status failure_real(errc code, const char* argument, double value,
                                            const char* expected) noexcept {
  status s = failure(code, argument, 0, expected);
  s.real = value;
  s.is_real = true;
  return s;
}

/// Thrown by the throwing forms; what() is status::message().
class error : public std::runtime_error {
 public:
  explicit error(const status& s) : std::runtime_error(s.message()), status_(s) {}
  [[nodiscard]] const status& why() const noexcept { return status_; }

 private:
  status status_;
};

#if GQA_EXCEPTIONS
inline void throw_if_failed(const status& s) {
  if (!s.ok()) throw error(s);
}
#endif

GQA_NAMESPACE_END

/// Returns from the enclosing function with the status of `expression` unless it is ok.
#define GQA_TRY(expression)                                                  \
  do {                                                                       \
    if (auto gqa_status = (expression); !gqa_status.ok()) return gqa_status; \
  } while (false)
