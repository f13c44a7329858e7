#!/bin/sh
# readme.sh COMPILER SOURCE_DIR EIGEN_DIR WORK_DIR
# Every C++ program in README.md compiles without warnings and runs; the first with the command that stands there, and
# it is examples/quickstart.cpp. The CMake lines are those of the consumer projects. The map names what is there.
set -eu

compiler=$1 source=$2 eigen=$3 work=$4
rm -rf "$work"
mkdir -p "$work"
cd "$work"
fail() { echo "README.md: $1"; exit 1; }

# Code blocks: program1.cpp, program2.cpp, ... where they have a main; cmake.txt holds all CMake lines.
awk '
  /^```/ { if (block) { if (kind == "cpp" && text ~ /int main/) print text > ("program" ++programs ".cpp")
                        if (kind == "cmake") print text > "cmake.txt"
                        block = 0 } else { block = 1; kind = substr($0, 4); text = "" }
           next }
  block { text = text $0 "\n" }
' "$source/README.md"
[ -f program1.cpp ] && [ -f program2.cpp ] && [ -f cmake.txt ] || fail 'a program or the CMake lines are missing'

sed -e '${/^$/d}' program1.cpp | diff - "$source/examples/quickstart.cpp" || fail 'the program is not examples/quickstart.cpp'
[ "$(grep -c . program1.cpp)" -le 20 ] || fail 'the program has more than 20 lines'

command=$(grep -m1 '^ *g++ .*quickstart.cpp' "$source/README.md") || fail 'no command compiles quickstart.cpp'
ln -s "$source" gqa
cp program1.cpp quickstart.cpp
command=$(echo "$command" | sed -e 's/^ *g++//' -e "s,/usr/include/eigen3,$eigen,")
echo "$compiler$command"
eval "$compiler $command" || fail 'the command does not compile the program'
./quickstart

for program in program*.cpp; do
  [ "$program" != program1.cpp ] || continue
  "$compiler" -std=c++20 -O0 -Wall -Wextra -Werror -I "$source/include" -isystem "$eigen" "$program" -o program -pthread ||
    fail "$program does not compile"
  ./program || fail "$program does not run"
done

grep . cmake.txt | grep -v '^ *#' | while IFS= read -r line; do
  code=$(echo "$line" | sed -e 's/ *#.*//' -e 's,add_subdirectory(.*,add_subdirectory(,')
  grep -qF "$code" "$source"/tests/consumer/*/CMakeLists.txt || fail "no consumer test has the line: $line"
done

# Paths in the map of the tree and everywhere else between backquotes.
grep -oE '`(include|tests|bench|examples)/[A-Za-z0-9_./]*`' "$source/README.md" | tr -d '`' | sort -u | while IFS= read -r path; do
  [ -e "$source/$path" ] || fail "names $path, which is not there"
done
