// The processor's float control word. A work item sets round to nearest and gradual underflow, whatever its thread had
// (linking with -ffast-math makes every thread flush subnormals), and puts the thread's own setting back.
#pragma once

#include <cstdint>

#include "../base/config.hpp"

#if GQA_X86
#include <xmmintrin.h>
#endif

GQA_NAMESPACE_BEGIN

class default_float_state {
 public:
#if GQA_X86
  default_float_state() noexcept : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~default_float_state() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  default_float_state() noexcept {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  ~default_float_state() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
  default_float_state() noexcept {}
  ~default_float_state() {}

 public:
#endif
  default_float_state(const default_float_state&) = delete;
  default_float_state& operator=(const default_float_state&) = delete;
};

GQA_NAMESPACE_END
