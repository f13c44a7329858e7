#!/bin/sh
# symbols.sh wide OBJECT     256- and 512-bit registers appear in functions of the target namespaces only, and do appear
# symbols.sh baseline PROGRAM     none appear in functions of the library that translation units without -m flags brought
# symbols.sh stack OBJECT NAME   the inner loops of function NAME keep their vectors in registers
set -eu

what=$1 object=$2
case $what in
  wide)
    objdump -d -C --no-show-raw-insn "$object" | awk '
      /^[0-9a-f]+ <.*>:$/ { name = $0; inside = name ~ /(isa_)?avx(2|512)::/; next }
      /%[yz]mm|%k[0-7]/ {
        if (inside) { found = 1 } else if (!(name in seen)) { seen[name] = 1; print "wide registers in " name; bad = 1 }
      }
      END {
        if (!found) print "no wide registers at all: the targets were not switched on"
        exit bad || !found
      }' ;;
  baseline)
    objdump -d -C --no-show-raw-insn "$object" | awk '
      /^[0-9a-f]+ <.*>:$/ { name = $0; inside = name ~ /v0_base/ && name !~ /v0_base::avx(2|512)::/; functions += inside; next }
      inside && /%[yz]mm|%k[0-7]/ { if (!(name in seen)) { seen[name] = 1; print "wide registers in " name; bad = 1 } }
      END {
        if (!functions) print "found no function of the library"
        exit bad || !functions
      }' ;;
  stack)
    objdump -d -C --no-show-raw-insn "$object" | awk -v wanted="$3" '
      /^[0-9a-f]+ <.*>:$/ { inside = index($0, wanted); next }
      !inside { next }
      { address = $1; sub(":", "", address); line[++n] = $0; at[n] = address }
      # A jump backwards closes a loop; the lines between its goal and itself are the body.
      $2 ~ /^j/ {
        goal = $3; sub("^0x", "", goal)
        for (i = n; i >= 1; --i) if (at[i] == goal) {
          work = stores = returns = 0
          for (j = i; j <= n; ++j) {
            if (line[j] ~ /fmadd|vmulps|vaddps/) ++work
            if (line[j] ~ /vmov[a-z]+ +%[xyz]mm[0-9]+,.*\(/) ++stores
            if (line[j] ~ /\tret/) ++returns
          }
          if (work && !returns) { ++loops; bad = bad || stores }
          break
        }
      }
      END {
        if (bad) print "accumulators of " wanted " live in memory"
        if (!loops) print "found no loop with arithmetic in " wanted
        exit bad || !loops
      }' ;;
  *) echo "unknown check: $what" >&2; exit 2 ;;
esac
