// Prints the targets whose kernels this machine runs, best first, for tests/CMakeLists.txt.
#include <cstdio>
#include <gqa/isa/detect.hpp>
#include <iterator>

int main() {
  for (auto target = std::rbegin(gqa::all_isas); target != std::rend(gqa::all_isas); ++target)
    if (gqa::is_supported(*target)) std::printf("%s ", gqa::name(*target));
  std::puts("");
}
