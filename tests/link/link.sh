#!/bin/sh
# link.sh COMPILER "ISAS" SOURCE_DIR EIGEN_DIR WORK_DIR
# Two translation units that include the library: with the same flags they link and run; with different ones they do
# too where only pointers cross, giving the same bits, and fail to link where a type of the library crosses. One that
# leaves the kernels to another needs it to have the same flags. At -O0, where nothing is inlined, most functions are the
# linker's to merge.
set -eu

compiler=$1 isas=$2 source=$3 eigen=$4 work=$5
here=$source/tests/link
avx2='-msse4.2 -mpopcnt -mavx -mavx2 -mbmi -mbmi2 -mfma -mf16c -mlzcnt'
avx512="$avx2 -mavx512f -mavx512cd -mavx512vl -mavx512dq -mavx512bw"
mkdir -p "$work"
cd "$work"

compile() {  # object, part, flags...
  object=$1 part=$2
  shift 2
  "$compiler" -std=c++20 -Wall -Wextra -Werror -O0 -DPART="$part" "$@" -I "$source/include" -isystem "$eigen" \
    -c "$here/part.cpp" -o "$object.o"
}
run() {  # what, objects...
  what=$1
  shift
  "$compiler" main.o "$@" -o program
  ./program
  echo "links and runs: $what"
}
refuse() {  # what, name that is missing, objects...
  what=$1 missing=$2
  shift 2
  if "$compiler" main.o "$@" -o program 2> errors.txt; then
    echo "links, but must not: $what"
    exit 1
  fi
  if ! grep -q "undefined reference.*$missing" errors.txt; then
    cat errors.txt
    echo "fails to link, for another reason: $what"
    exit 1
  fi
  echo "does not link, as it must: $what"
}

"$compiler" -std=c++20 -Wall -Wextra -Werror -O2 -c "$here/main.cpp" -o main.o
compile one one -DCROSS=2
compile one_alone one
compile two two -DCROSS=1
run 'the same flags' one.o two.o

for isa in $isas; do
  case $isa in
    avx2) flags=$avx2 ;;
    avx512) flags=$avx512 ;;
    *) continue ;;
  esac
  compile "two_$isa" two -DCROSS=1 $flags
  run "baseline and $isa" one_alone.o "two_$isa.o"
  run "$isa and baseline" "two_$isa.o" one_alone.o
  "$source/tests/litmus/symbols.sh" baseline program
  refuse "baseline and $isa, a type crossing" batch_spec one.o "two_$isa.o"
done
compile two_plain two -DCROSS=1 -fno-exceptions
run 'with and without exceptions' one_alone.o two_plain.o
refuse 'with and without exceptions, a type crossing' batch_spec one.o two_plain.o
compile two_fast two -DCROSS=1 -ffast-math
run 'with and without -ffast-math' one_alone.o two_fast.o
refuse 'with and without -ffast-math, a type crossing' batch_spec one.o two_fast.o

compile one_without one -DGQA_EXTERN_KERNELS
compile two_with two -DGQA_EXTERN_KERNELS -include gqa/kernel/instantiate.hpp
run "one's kernels in two" one_without.o two_with.o
refuse "one's kernels in two, with other flags" kernels_for one_without.o two_fast.o
