#!/bin/sh
# consumer.sh WAY CMAKE COMPILER SOURCE_DIR BUILD_DIR WORK_DIR
# Configures, builds and runs the project in WAY/, which gets gqa in that way and no compiler flags with it.
set -eu

way=$1 cmake=$2 compiler=$3 source=$4 build=$5 work=$6
rm -rf "$work"
mkdir -p "$work"
case $way in
  find_package)
    "$cmake" --install "$build" --prefix "$work/staged" > /dev/null
    mv "$work/staged" "$work/moved"  # an installed tree may be moved
    set -- "-DCMAKE_PREFIX_PATH=$work/moved" ;;
  add_subdirectory) set -- "-DGQA_SOURCE=$source" ;;
  fetch_content) set -- "-DFETCHCONTENT_SOURCE_DIR_GQA=$source" ;;  # what a download would leave
esac
"$cmake" -S "$source/tests/consumer/$way" -B "$work/build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS='-Wall -Wextra -Werror' -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
"$cmake" --build "$work/build"
if grep -E '"command".* -(m|f[a-z])' "$work/build/compile_commands.json"; then
  echo "gqa forces flags on its users"
  exit 1
fi
if [ "$way" = find_package ] && grep -q "$source/include" "$work/build/compile_commands.json"; then
  echo "an installed gqa refers to its source tree"
  exit 1
fi
"$work/build/app"
