#!/bin/sh
# headers.sh COMPILER SOURCE_DIR EIGEN_DIR
# Every header compiles on its own and twice over, without warnings. Region texts (*.inl.hpp) are no headers.
set -eu

compiler=$1 source=$2 eigen=$3
cd "$source/include"
failed=0
for header in $(find gqa -name '*.hpp' ! -name '*.inl.hpp' | sort); do
  openmp=
  case $header in
    */executor_openmp.hpp)
      openmp=-fopenmp
      if ! echo '#include <omp.h>' | "$compiler" -fopenmp -fsyntax-only -x c++ - 2>/dev/null; then
        echo "$header: not compiled, $compiler has no OpenMP here"
        continue
      fi ;;
  esac
  printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
    "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only $openmp -I . -isystem "$eigen" -x c++ - ||
    { echo "$header: does not compile alone"; failed=1; }
done
exit $failed
