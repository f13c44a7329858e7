// What the benches need to know about the machine, and print above their results.
#pragma once

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace bench {

/// The first line of a small file, or "" where it cannot be read.
[[nodiscard]] inline std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The value behind "key<spaces>: value" in files of /proc, or "".
[[nodiscard]] inline std::string proc_value(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

/// CPUs that this process may run on, in order.
[[nodiscard]] inline std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) cpus.push_back(i);
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

[[nodiscard]] inline std::string cpu_name() {
  std::string text = proc_value("/proc/cpuinfo", "model name");
  return text.empty() ? "unknown CPU" : text;
}

/// Bytes of the largest cache that sysfs lists; 32 MiB where it lists none.
[[nodiscard]] inline std::int64_t last_level_cache_bytes() {
  std::int64_t largest = 0;
  for (int i = 0; i < 10; ++i) {
    const std::string text = first_line("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/size");
    if (text.empty()) continue;
    std::int64_t n = std::stoll(text);
    if (text.back() == 'K') n <<= 10;
    if (text.back() == 'M') n <<= 20;
    largest = std::max(largest, n);
  }
  return largest > 0 ? largest : std::int64_t{32} << 20;
}

/// Bytes of a "key: n kB" line.
[[nodiscard]] inline std::int64_t proc_kilobytes(const std::string& path, const std::string& key) {
  const std::string text = proc_value(path, key);
  return text.empty() ? 0 : std::stoll(text) * 1024;
}

[[nodiscard]] inline std::int64_t available_memory() { return proc_kilobytes("/proc/meminfo", "MemAvailable"); }

/// Bytes of this process that lie in huge pages.
[[nodiscard]] inline std::int64_t huge_page_bytes() { return proc_kilobytes("/proc/self/smaps_rollup", "AnonHugePages"); }

/// "madvise; 0 MiB of this process in huge pages"
[[nodiscard]] inline std::string huge_page_state() {
  const std::string modes = first_line("/sys/kernel/mm/transparent_hugepage/enabled");  // "always [madvise] never"
  const std::size_t open = modes.find('['), close = modes.find(']');
  const std::string mode = open == std::string::npos ? "not available" : modes.substr(open + 1, close - open - 1);
  return mode + "; " + std::to_string(huge_page_bytes() >> 20) + " MiB of this process in huge pages";
}

/// Page faults without I/O, and seconds of processor time, of all threads so far.
struct usage {
  std::int64_t minor_faults = 0;
  double cpu_seconds = 0;
};

[[nodiscard]] inline usage usage_now() {
  rusage r{};
  getrusage(RUSAGE_SELF, &r);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return {r.ru_minflt, seconds(r.ru_utime) + seconds(r.ru_stime)};
}

}  // namespace bench
