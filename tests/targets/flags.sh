#!/bin/sh
# flags.sh "ISAS" SOURCE_DIR EIGEN_DIR WORK_DIR COMPILER [FLAGS...]
# Compiles fingerprint.cpp with FLAGS, without warnings, and compares what it prints on each of ISAS with the record.
# RUNNER in the environment runs the program where it is for another machine.
set -eu

isas=$1 source=$2 eigen=$3 work=$4
shift 4
mkdir -p "$work"
echo "$*"
"$@" -std=c++20 -Wall -Wextra -Werror -I "$source/include" -isystem "$eigen" "$source/tests/fingerprint.cpp" \
  -o "$work/fingerprint"
"$source/tests/targets/compare.sh" "$isas" ${RUNNER:-} "$work/fingerprint"
