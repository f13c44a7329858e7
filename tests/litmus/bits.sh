#!/bin/sh
# bits.sh PROGRAM "ISAS"
# Runs PROGRAM, built from decode_bits.cpp, on each of ISAS: the hashes are those on record. To record new ones, after a
# change of the arithmetic contract only: GQA_ISA=portable build/tests/decode_bits > tests/litmus/decode_bits.txt
set -eu

record=$(dirname "$0")/decode_bits.txt
for isa in $2; do
  got=$(GQA_ISA=$isa "$1") || { echo "GQA_ISA=$isa: $got"; exit 1; }
  if ! echo "$got" | diff "$record" -; then
    echo "GQA_ISA=$isa: not the bits on record (<)"
    exit 1
  fi
  echo "GQA_ISA=$isa: the bits on record"
done
