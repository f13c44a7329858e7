// Numbers and tables for the terminal: right-aligned columns under their heads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace bench {

/// `digits` significant digits, without exponent: 0.0683, 1.53, 134.
[[nodiscard]] inline std::string number(double x, int digits = 3) {
  int decimals = digits - 1;
  for (double bound = 10; std::abs(x) >= bound && decimals > 0; bound *= 10) --decimals;
  for (double bound = 1; std::abs(x) < bound && x != 0 && decimals < 9; bound /= 10) ++decimals;
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", decimals, x);
  return text;
}

/// Two digits after the point: for ratios.
[[nodiscard]] inline std::string ratio(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f", x);
  return text;
}

/// 256 MiB, 1.5 GiB.
[[nodiscard]] inline std::string byte_size(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int u = 0;
  for (; bytes >= 1024 && u < 4; ++u) bytes /= 1024;
  char text[40];
  std::snprintf(text, sizeof text, bytes < 10 && bytes != static_cast<int>(bytes) ? "%.1f %s" : "%.0f %s", bytes, units[u]);
  return text;
}

[[nodiscard]] inline std::string scientific(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1e", x);
  return text;
}

class text_table {
 public:
  explicit text_table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void add_rule() { rows_.emplace_back(); }

  /// The first `left` columns are left-aligned, and the last one where it holds remarks.
  [[nodiscard]] std::string render(std::size_t left = 1, bool remarks = false) const {
    std::vector<std::size_t> width(rows_.front().size());
    for (const auto& row : rows_)
      for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
    std::size_t total = 0;
    for (std::size_t w : width) total += w + 2;
    total = std::min<std::size_t>(total, 200);
    std::string out;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (rows_[r].empty() || r == 1) out += std::string(total, '-') + "\n";
      std::string line;
      for (std::size_t c = 0; c < rows_[r].size(); ++c) {
        const std::string pad(width[c] - rows_[r][c].size(), ' ');
        const bool to_left = c < left || (remarks && c + 1 == rows_[r].size());
        line += to_left ? rows_[r][c] + pad + "  " : pad + rows_[r][c] + "  ";
      }
      line.erase(line.find_last_not_of(' ') + 1);
      if (!line.empty()) out += line + "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace bench
