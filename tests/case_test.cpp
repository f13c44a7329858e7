// case_test DIR...: every .safetensors in each DIR (not descending) is one attention problem and its answer. The
// float64 reference must agree with the answer to 1e-9; the library, on inputs rounded to each storage type, with the
// reference within the bound of support/bound.hpp; and all layouts, targets, chunkings and share counts with each other
// to the bit. One line a case: name, outcome, largest error as share of the bound, runs. Exits with 1 on a failure, 2
// on misuse.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <gqa/isa/detect.hpp>
#include <string>
#include <vector>

#include "support/case_runs.hpp"

namespace {

using gqa::bf16;
using gqa::f16;
using gqa_test::case_result;
using targets_to_run = std::vector<std::optional<gqa::isa>>;

case_result run_file(const std::string& path, const targets_to_run& targets) {
  case_result result;
  try {
    const gqa_test::case_file c = gqa_test::read_case(path);
    if (const double error = gqa_test::reference_error(c); !(error <= 1e-9)) {
      char text[80];
      std::snprintf(text, sizeof text, "the float64 reference is off by %.3g (1e-9 allowed)", error);
      result.failure = text;
      return result;
    }
    gqa_test::run_case<gqa::types<float, float, float, float>>(c.question, targets, result);
    gqa_test::run_case<gqa::types<float, f16, f16, float>>(c.question, targets, result);
    gqa_test::run_case<gqa::types<float, bf16, bf16, float>>(c.question, targets, result);
    gqa_test::run_case<gqa::types<float, float, float, bf16>>(c.question, targets, result);
    gqa_test::run_case<gqa::types<f16, f16, f16, f16>>(c.question, targets, result);
    gqa_test::run_case<gqa::types<bf16, bf16, bf16, bf16>>(c.question, targets, result);
  } catch (const std::exception& e) {
    result.failure = e.what();
  }
  return result;
}

/// Targets to run, and a line about those that are not. False where GQA_ISA asks for what cannot be had.
bool choose_targets(targets_to_run& targets, std::vector<std::string>& not_run) {
  gqa::isa chosen{};
  if (const gqa::status s = gqa::resolve_isa(std::nullopt, chosen); !s.ok()) {
    std::fprintf(stderr, "case_test: %s\n", s.message().c_str());
    return false;
  }
  const char* forced = std::getenv("GQA_ISA");
  if (forced && *forced) targets.emplace_back(std::nullopt);
  for (auto it = std::rbegin(gqa::all_isas); it != std::rend(gqa::all_isas); ++it) {
    const std::string name = gqa::name(*it);
    if (forced && *forced) {
      if (*it != chosen) not_run.push_back(name + " (GQA_ISA picks another)");
    } else if (gqa::is_supported(*it)) {
      targets.emplace_back(*it);
    } else {
      not_run.push_back(name + " (this machine lacks it)");
    }
  }
  return true;
}

/// Case files of `dir`, sorted; empty where it cannot be read.
std::vector<std::string> case_files(const char* dir) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error))
    if (!entry.is_directory() && entry.path().extension() == ".safetensors") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: case_test DIR...   runs every .safetensors case in each DIR\n");
    return 2;
  }
  targets_to_run targets;
  std::vector<std::string> not_run;
  if (!choose_targets(targets, not_run)) return 2;

  int passed = 0, failed = 0;
  std::int64_t runs = 0;
  double share = 0;
  for (int i = 1; i < argc; ++i) {
    const std::vector<std::string> paths = case_files(argv[i]);
    if (paths.empty()) {
      std::printf("%s: FAIL: no case (.safetensors) to run\n", argv[i]);
      ++failed;
    }
    for (const std::string& path : paths) {
      const case_result r = run_file(path, targets);
      const bool pass = r.failure.empty();
      ++(pass ? passed : failed);
      runs += r.runs;
      share = std::max(share, r.errors.share);
      std::printf("%-36s %s  %.3f of the bound, %lld runs%s%s\n", std::filesystem::path(path).filename().c_str(),
                  pass ? "pass" : "FAIL", r.errors.share, static_cast<long long>(r.runs), pass ? "" : ": ",
                  r.failure.c_str());
      std::fflush(stdout);
    }
  }
  for (const std::string& name : not_run) std::printf("not run: %s\n", name.c_str());
  std::printf("%d passed, %d failed, largest error %.3f of the bound, %lld runs\n", passed, failed, share,
              static_cast<long long>(runs));
  return failed == 0 ? 0 : 1;
}
