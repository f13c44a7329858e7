# To be sourced from the project's top folder: `build_bench TARGET` installs what is missing and builds build/bench/TARGET.
. tests/packages.sh

say() { printf '\n== %s  [%d:%02d]\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

build_bench() {
  require_packages cmake make g++ libeigen3-dev libgtest-dev libbenchmark-dev libcli11-dev nlohmann-json3-dev

  # As many compilers at once as there are cores, and memory for (about 1 GiB each).
  local jobs memory
  jobs=$(nproc)
  if memory=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo 2> /dev/null) && [ -n "$memory" ]; then
    [ "$memory" -ge 1 ] || memory=1
    [ "$jobs" -le "$memory" ] || jobs=$memory
  fi
  say "Building with g++ in build/, $jobs at a time"
  local said
  said=$(cmake -S . -B build -DCMAKE_CXX_COMPILER=g++ -DCMAKE_BUILD_TYPE=Release -DGQA_BUILD_BENCH=ON 2>&1) ||
    { echo "$said"; echo "Configuring failed."; exit 1; }
  cmake --build build --target "$1" -j "$jobs"
}
