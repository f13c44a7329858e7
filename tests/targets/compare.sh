#!/bin/sh
# compare.sh "ISAS" PROGRAM...
# Runs PROGRAM, built from fingerprint.cpp, on each of ISAS, as it is and in a thread that flushes subnormals: the hashes
# are those on record. A change of the arithmetic contract, and nothing else, records new ones:
#   GQA_ISA=portable build/tests/fingerprint > tests/data/fingerprint.txt
set -eu

record=$(dirname "$0")/../data/fingerprint.txt
isas=$1
shift
for isa in $isas; do
  for state in "" --ftz; do
    got=$(GQA_ISA=$isa "$@" $state) || { echo "GQA_ISA=$isa $* $state: $got"; exit 1; }
    if ! echo "$got" | diff "$record" -; then
      echo "GQA_ISA=$isa $* $state: not the bits on record (<)"
      exit 1
    fi
    echo "GQA_ISA=$isa $* $state: the bits on record"
  done
done
