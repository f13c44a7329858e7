// This library's side of the comparison: one cell, timed over rotating caches, every output checked against the float64
// answer. Prints the same JSON object as the peers (measure.py).
//
//   ours data=FOLDER kind=decode type=f32 q_heads=32 kv_heads=8 head_dim=128 q_len=1 kv_len=4096 threads=1 caches=16
//        seconds=0.5 min_calls=9 clock=wall
//
// Built with plain g++ -std=c++20 -O2 -fopenmp.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <gqa/gqa.hpp>
#include <gqa/isa/detect.hpp>
#include <gqa/plan/executor_openmp.hpp>

namespace {

struct job {
  std::map<std::string, std::string> text;

  [[nodiscard]] const std::string& word(const char* key) const {
    const auto found = text.find(key);
    if (found == text.end()) throw std::runtime_error(std::string("missing argument: ") + key);
    return found->second;
  }
  [[nodiscard]] std::int64_t number(const char* key) const { return std::stoll(word(key)); }
};

job parse(int argc, char** argv) {
  job j;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos) throw std::runtime_error("expected key=value, not " + argument);
    j.text[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  return j;
}

template <class T>
std::vector<T> read(const job& j, const char* name, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  const std::string path = j.word("data") + "/" + name + ".bin";
  std::ifstream file(path, std::ios::binary);
  const auto bytes = static_cast<std::streamsize>(values.size() * sizeof(T));
  if (!file.read(reinterpret_cast<char*>(values.data()), bytes)) throw std::runtime_error("cannot read " + path);
  return values;
}

struct shape {
  std::int64_t q_heads, kv_heads, head_dim, q_len, kv_len;

  [[nodiscard]] std::int64_t q_elements() const { return q_len * q_heads * head_dim; }
  [[nodiscard]] std::int64_t kv_elements() const { return kv_len * kv_heads * head_dim; }
};

/// Cache lines, where engines and the peers' own allocators put tensors; plain new starts 16 bytes behind one.
inline constexpr std::align_val_t line{64};
struct free_lines {
  void operator()(void* p) const { ::operator delete(p, line); }
};
template <class T>
using tensor = std::unique_ptr<T[], free_lines>;

/// One of K and V, converted to its storage type and laid out.
template <class T>
tensor<T> lay_out(const std::vector<float>& token_major, const shape& s, bool head_major) {
  tensor<T> cache(static_cast<T*>(::operator new(token_major.size() * sizeof(T), line)));
  for (std::int64_t t = 0; t < s.kv_len; ++t)
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      const float* from = token_major.data() + (t * s.kv_heads + h) * s.head_dim;
      T* to = cache.get() + (head_major ? h * s.kv_len + t : t * s.kv_heads + h) * s.head_dim;
      std::transform(from, from + s.head_dim, to, [](float x) { return static_cast<T>(x); });
    }
  return cache;
}

/// The largest error, alone, as a share of what the library allows itself, and relative to the largest expected value.
struct worst {
  double error = 0, share = 0, relative = 0;
  double cpu_share = 1;  // CPU time / wall time of the timed loop
};

void check(const std::vector<float>& out, const std::vector<double>& expected, const std::vector<double>& bound,
           std::int64_t head_dim, worst& w) {
  double largest = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double error = std::fabs(static_cast<double>(out[i]) - expected[i]);
    const double share = error / bound[i / static_cast<std::size_t>(head_dim)];
    w.error = error <= w.error ? w.error : error;  // NaN sticks
    w.share = share <= w.share ? w.share : share;
    largest = std::max(largest, std::fabs(expected[i]));
  }
  w.relative = w.error / largest;
}

/// Now, in seconds, by the wall clock or by the CPU time of this process.
double now(bool cpu_time) {
  timespec t{};
  clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Times run() on one cache after another; throws gqa::error where the library refuses.
template <class T>
std::vector<double> time_runs(const job& j, const shape& s, bool head_major, worst& w) {
  using types = gqa::types<float, T, T, float>;
  const auto q = read<float>(j, "q", s.q_elements()), k = read<float>(j, "k", s.kv_elements()),
             v = read<float>(j, "v", s.kv_elements());
  const auto expected = read<double>(j, "out", s.q_elements());
  const auto bound = read<double>(j, "bound", s.q_len * s.q_heads);
  std::vector<float> out(q.size());

  const std::int64_t caches = j.number("caches");
  std::vector<std::pair<tensor<T>, tensor<T>>> kv;
  for (std::int64_t i = 0; i < caches; ++i) kv.emplace_back(lay_out<T>(k, s, head_major), lay_out<T>(v, s, head_major));

  gqa::attention_spec<> spec;
  spec.heads = {s.q_heads, s.kv_heads};
  spec.dims = {s.head_dim, s.head_dim};
  gqa::batch_spec batch;
  batch.q_lens = s.q_len;
  batch.kv_lens = s.kv_len;
  const auto layout = head_major ? gqa::contiguous_layout::head_major(1, s.kv_len, s.kv_heads, s.head_dim, s.head_dim)
                                 : gqa::contiguous_layout::token_major(1, s.kv_len, s.kv_heads, s.head_dim, s.head_dim);
  gqa::plan_options options;
  options.shares = j.number("threads");
  const gqa::attention_plan<types, gqa::contiguous_layout> plan(spec, batch, layout, {}, options);
  std::vector<std::byte> workspace(plan.workspace_bytes());
  const gqa::openmp_executor many{static_cast<int>(j.number("threads"))};
  const gqa::sequential_executor one;

  const auto run = [&](std::int64_t i) {
    gqa::attention_io<types> io;
    io.q = q.data();
    io.k = kv[static_cast<std::size_t>(i % caches)].first.get();
    io.v = kv[static_cast<std::size_t>(i % caches)].second.get();
    io.out = out.data();
    gqa::throw_if_failed(options.shares > 1 ? plan.run(io, workspace, many) : plan.run(io, workspace, one));
  };

  constexpr std::int64_t warm_up = 2, most = 10000;
  const double budget = std::stod(j.word("seconds"));
  const bool cpu_time = j.word("clock") == "cpu";
  const auto least = static_cast<std::size_t>(j.number("min_calls"));
  for (std::int64_t i = 0; i < warm_up; ++i) run(i);
  std::vector<double> times;
  const double begin = now(false), cpu_begin = now(true);
  for (std::int64_t i = warm_up; times.size() < least || (now(false) - begin < budget && i < most); ++i) {
    std::fill(out.begin(), out.end(), std::nanf(""));
    const double start = now(cpu_time);
    run(i);
    times.push_back(now(cpu_time) - start);
    check(out, expected, bound, s.head_dim, w);
  }
  w.cpu_share = (now(true) - cpu_begin) / (now(false) - begin);
  return times;
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const std::size_t half = times.size() / 2;
  return times.size() % 2 ? times[half] : (times[half - 1] + times[half]) / 2;
}

/// One object of the list "variants". `name` is "run" and the layout; a refusal is reported as one.
std::string measure(const job& j, const shape& s, bool head_major) {
  const std::string head = std::string(R"({"variant": "run", "as_called": false, "layout": ")") +
                           (head_major ? "head_major" : "token_major");
  worst w;
  std::vector<double> times;
  try {
    const std::string& type = j.word("type");
    if (type == "f32") times = time_runs<float>(j, s, head_major, w);
    else if (type == "f16") times = time_runs<gqa::f16>(j, s, head_major, w);
    else if (type == "bf16") times = time_runs<gqa::bf16>(j, s, head_major, w);
    else throw std::runtime_error("type is f32, f16 or bf16");
  } catch (const gqa::error& refused) {
    return head + R"(", "cannot": ")" + refused.what() + "\"}";
  }
  const auto number = [](double x) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", std::isfinite(x) ? x : 1e308);
    return std::string(text);
  };
  std::string json = head + R"(", "median": )" + number(median(times)) + R"(, "max_error": )" + number(w.error) +
                     R"(, "relative_error": )" + number(w.relative) + R"(, "share_of_bound": )" + number(w.share) +
                     R"(, "cpu_share": )" + number(w.cpu_share) + R"(, "times": [)";
  for (std::size_t i = 0; i < times.size(); ++i) json += (i ? ", " : "") + number(times[i]);
  return json + "]}";
}

}  // namespace

int main(int argc, char** argv) try {
  const job j = parse(argc, argv);
  const shape s{j.number("q_heads"), j.number("kv_heads"), j.number("head_dim"), j.number("q_len"), j.number("kv_len")};
  gqa::isa target{};
  gqa::throw_if_failed(gqa::resolve_isa({}, target));
  const std::string token_major = measure(j, s, false), head_major = measure(j, s, true);
  std::printf(R"({"version": "%d.%d.%d %s", "variants": [%s, %s]})", GQA_VERSION_MAJOR, GQA_VERSION_MINOR,
              GQA_VERSION_PATCH, gqa::name(target), token_major.c_str(), head_major.c_str());
  std::printf("\n");
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "ours: %s\n", e.what());
  return 1;
}
