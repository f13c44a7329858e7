#!/bin/sh
# flags.sh COMPILER "ISAS" SOURCE_DIR EIGEN_DIR WORK_DIR [FLAGS...]
# Compiles decode_bits.cpp with FLAGS, without warnings, and runs it on each of ISAS: the hashes are those on record.
set -eu

compiler=$1 isas=$2 source=$3 eigen=$4 work=$5
shift 5
here=$source/tests/litmus
mkdir -p "$work"
cd "$work"
echo "$compiler $*"
"$compiler" -std=c++20 -Wall -Wextra -Werror "$@" -I "$source/include" -isystem "$eigen" "$here/decode_bits.cpp" \
  -o decode_bits
"$here/bits.sh" ./decode_bits "$isas"
