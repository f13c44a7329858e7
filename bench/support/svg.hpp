// Plots as SVG: panels side by side, each with linear or logarithmic axes, lines and markers, under one title and legend.
// Lines of one colour belong together: measured solid, limit dashed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench::svg {

struct axis {
  std::string label;
  bool log = true;
  std::vector<double> ticks{};  ///< where absent: 1, 2, 5 times powers of ten
};

struct series {
  std::string label;  ///< series of one label (in several panels) share a legend entry
  std::string colour;
  bool dashed = false;  ///< dashed lines carry no markers
  std::vector<std::pair<double, double>> points{};
};

struct panel {
  std::string title;
  axis x, y;
  std::vector<series> lines{};
};

struct figure {
  std::string title, subtitle, footer;
  std::vector<panel> panels{};
};

/// Distinguishable by the colour-blind (Okabe and Ito).
inline constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

[[nodiscard]] inline std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

/// 0.05, 20, 4k, 128k: as short as a tick's label should be; 1024 is the k of token counts.
[[nodiscard]] inline std::string tick_label(double x) {
  char text[32];
  const bool thousands = x >= 1024 && std::fmod(x, 1024) == 0;
  std::snprintf(text, sizeof text, thousands ? "%gk" : "%g", thousands ? x / 1024 : x);
  return text;
}

class writer {
 public:
  explicit writer(const figure& f)
      : figure_(f), panel_step_(f.panels.size() == 1 ? 820 : 440), plot_width_(panel_step_ - 84) {}

  [[nodiscard]] std::string render() {
    std::vector<const series*> legend;
    for (const panel& p : figure_.panels)
      for (const series& s : p.lines)
        if (std::none_of(legend.begin(), legend.end(), [&](const series* l) { return l->label == s.label; }))
          legend.push_back(&s);
    const double width = left_edge + static_cast<double>(figure_.panels.size()) * panel_step_;
    const double legend_rows = std::ceil(static_cast<double>(legend.size()) / legend_columns(width));
    top_ = 78 + legend_rows * 22 + 26;
    const double height = top_ + plot_height + 58 + (figure_.footer.empty() ? 0 : 22);
    add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
        "font-family=\"-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif\" font-size=\"13\" fill=\"#24292f\">\n",
        width, height, width, height);
    add("<rect width=\"%g\" height=\"%g\" fill=\"#ffffff\"/>\n", width, height);
    text(24, 34, figure_.title, "font-size=\"19\" font-weight=\"600\"");
    text(24, 56, figure_.subtitle, "fill=\"#57606a\"");
    draw_legend(legend, width);
    for (std::size_t i = 0; i < figure_.panels.size(); ++i)
      draw_panel(figure_.panels[i], left_edge + 54 + static_cast<double>(i) * panel_step_);
    if (!figure_.footer.empty()) text(24, height - 14, figure_.footer, "font-size=\"11.5\" fill=\"#6e7781\"");
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  static constexpr double left_edge = 14, plot_height = 320;

  struct range {
    double low, high;
    bool log;
    [[nodiscard]] double place(double x) const {
      return log ? std::log(x / low) / std::log(high / low) : (x - low) / (high - low);
    }
  };

  static double legend_columns(double width) { return std::max(1.0, std::floor((width - 48) / 200)); }

  __attribute__((format(printf, 2, 3))) void add(const char* format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    out_ += line;
  }
  void text(double x, double y, const std::string& s, const char* attributes = "") {
    add("<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    out_ += escaped(s) + "</text>\n";
  }

  void draw_legend(const std::vector<const series*>& entries, double width) {
    const auto columns = static_cast<std::size_t>(legend_columns(width));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double x = 24 + static_cast<double>(i % columns) * 200, y = 82 + static_cast<double>(i / columns) * 22;
      draw_line(*entries[i], {{x, y}, {x + 30, y}}, false);
      if (!entries[i]->dashed) marker(x + 15, y, entries[i]->colour);
      text(x + 38, y + 4.5, entries[i]->label);
    }
  }

  void marker(double x, double y, const std::string& colour) {
    add("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" stroke=\"#ffffff\" stroke-width=\"1.2\"/>\n", x, y, colour.c_str());
  }

  void draw_line(const series& s, const std::vector<std::pair<double, double>>& points, bool markers) {
    out_ += "<polyline fill=\"none\" stroke=\"" + s.colour + "\" stroke-linejoin=\"round\" stroke-width=\"" +
            (s.dashed ? "1.6\" stroke-dasharray=\"6 4\" opacity=\"0.85" : "2.4") + "\" points=\"";
    for (const auto& [x, y] : points) add("%.1f,%.1f ", x, y);
    out_ += "\"/>\n";
    if (markers && !s.dashed)
      for (const auto& [x, y] : points) marker(x, y, s.colour);
  }

  static range range_of(const panel& p, bool horizontal) {
    const axis& a = horizontal ? p.x : p.y;
    double low = INFINITY, high = -INFINITY;
    for (const series& s : p.lines)
      for (const auto& [x, y] : s.points) {
        low = std::min(low, horizontal ? x : y);
        high = std::max(high, horizontal ? x : y);
      }
    for (double t : a.ticks) {
      low = std::min(low, t);
      high = std::max(high, t);
    }
    if (!(low <= high)) low = high = 1;
    if (a.log) {
      const double margin = std::max(0.06 * std::log(high / low), 0.12);
      return {low * std::exp(-margin), high * std::exp(margin), true};
    }
    low = std::min(low, 0.0);
    return {low, high + 0.06 * std::max(high - low, 1e-9), false};
  }

  static std::vector<double> ticks_of(const axis& a, const range& r) {
    if (!a.ticks.empty()) return a.ticks;
    std::vector<double> all, decades;
    if (r.log) {
      for (double decade = std::pow(10, std::floor(std::log10(r.low))); decade <= r.high; decade *= 10)
        for (double m : {1.0, 2.0, 5.0})
          if (const double t = m * decade; t >= r.low && t <= r.high) {
            all.push_back(t);
            if (m == 1) decades.push_back(t);
          }
      return all.size() > 12 && decades.size() > 2 ? decades : all;
    }
    double step = std::pow(10, std::floor(std::log10((r.high - r.low) / 4)));
    while ((r.high - r.low) / step > 7) step *= 2;
    for (double t = std::ceil(r.low / step) * step; t <= r.high; t += step) all.push_back(t);
    return all;
  }

  void draw_panel(const panel& p, double left) {
    const range rx = range_of(p, true), ry = range_of(p, false);
    const auto px = [&](double x) { return left + rx.place(x) * plot_width_; };
    const auto py = [&](double y) { return top_ + (1 - ry.place(y)) * plot_height; };
    text(left, top_ - 12, p.title, "font-weight=\"600\"");
    for (double t : ticks_of(p.x, rx)) {
      add("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#eaeef2\"/>\n", px(t), top_, px(t), top_ + plot_height);
      text(px(t), top_ + plot_height + 19, tick_label(t), "text-anchor=\"middle\" fill=\"#57606a\"");
    }
    for (double t : ticks_of(p.y, ry)) {
      add("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#eaeef2\"/>\n", left, py(t), left + plot_width_, py(t));
      text(left - 8, py(t) + 4.5, tick_label(t), "text-anchor=\"end\" fill=\"#57606a\"");
    }
    add("<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#8c959f\"/>\n", left, top_, top_ + plot_height, left + plot_width_);
    text(left + plot_width_ / 2, top_ + plot_height + 42, p.x.label, "text-anchor=\"middle\"");
    add("<g transform=\"translate(%.1f %.1f) rotate(-90)\">", left - 48, top_ + plot_height / 2);
    text(0, 0, p.y.label, "text-anchor=\"middle\"");
    out_ += "</g>\n";
    for (bool dashed : {true, false})  // measured lines lie on top
      for (const series& s : p.lines) {
        if (s.dashed != dashed) continue;
        std::vector<std::pair<double, double>> at;
        for (const auto& [x, y] : s.points) at.emplace_back(px(x), py(y));
        draw_line(s, at, true);
      }
  }

  const figure& figure_;
  std::string out_;
  double panel_step_, plot_width_;  // a panel with its labels; without
  double top_ = 0;
};

/// Throws std::runtime_error where the file cannot be written.
inline void write(const figure& f, const std::string& path) {
  std::ofstream file(path);
  file << writer(f).render();
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace bench::svg
