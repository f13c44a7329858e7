// Linking with -ffast-math sets flush-to-zero for the process, and threads inherit it: a work item saves the control
// word, sets the default and restores it. Compiled with -ffast-math here.
#include <xmmintrin.h>

#include <thread>

#include "region.hpp"

constexpr unsigned default_word = 0x1f80, flush = 0x8040;

LITMUS_OPEN_BASELINE
namespace isa_portable {
LITMUS_ENTRY float halve(float x) noexcept {
  const unsigned caller = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(0x1f80);
  volatile float y = x;
  y = y * 0.5f;
  const float result = y;
  __builtin_ia32_ldmxcsr(caller);
  return result;
}
}  // namespace isa_portable
LITMUS_CLOSE_BASELINE

static void check() {
  const float smallest_normal = 0x1p-126f;
  expect(bits_of(isa_portable::halve(smallest_normal)) == 0x00400000, "an item sees subnormals");
}

int main() {
  _mm_setcsr(default_word | flush);
  check();
  expect((_mm_getcsr() & flush) == flush, "the caller's control word comes back");
  std::thread(check).join();
  std::thread([] { expect((_mm_getcsr() & flush) == flush, "a thread inherits the control word"); }).join();
  _mm_setcsr(default_word);
  check();
  expect((_mm_getcsr() & flush) == 0, "the caller's control word comes back");
  return failures;
}
