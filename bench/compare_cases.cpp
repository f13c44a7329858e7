#include "compare_cases.hpp"

#include <algorithm>
#include <filesystem>

#include "../tests/support/bound.hpp"
#include "../tests/support/case_file.hpp"

namespace bench {

namespace {

/// Largest error over the bound, with K and V stored as T and inputs rounded to their types first.
template <class T>
double error_share(const gqa_test::problem& question) {
  const gqa_test::problem stored = gqa_test::as_stored<float, T, T>(question);
  const auto answer = gqa_test::run<gqa::types<float, T, T, float>>(stored, gqa_test::manner{});
  return gqa_test::compare(stored, gqa_test::reference(stored), answer).share;
}

case_result run_case(const std::filesystem::path& file) {
  case_result r;
  r.name = file.stem().string();
  try {
    gqa_test::problem p = gqa_test::read_case(file.string()).question;
    p.spec.lse = true;
    r.shape = std::to_string(p.q_heads()) + "/" + std::to_string(p.kv_heads()) + " x " + std::to_string(p.head_dim()) +
              (p.v_head_dim() != p.head_dim() ? "/" + std::to_string(p.v_head_dim()) : "") + ", batch " +
              std::to_string(p.batch) + ", q " + std::to_string(p.q_len) + ", kv " + std::to_string(p.kv_len);
    r.f32 = error_share<float>(p);
    r.bf16 = error_share<gqa::bf16>(p);
  } catch (const std::exception& e) {
    r.failure = e.what();
  }
  return r;
}

}  // namespace

std::vector<case_result> run_model_cases(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<case_result> results;
  for (const auto& file : files) results.push_back(run_case(file));
  return results;
}

}  // namespace bench
