// What the attention functions of real models received and returned, run through the library.
#pragma once

#include <string>
#include <vector>

namespace bench {

struct case_result {
  std::string name;         ///< the file's, without .safetensors
  std::string shape;        ///< "8/2 x 16, q 24, kv 24"
  double f32 = 0, bf16 = 0;  ///< largest error as a share of what CASES.md allows, by cache type
  std::string failure;      ///< why it could not be run, or empty
};

/// Runs every *.safetensors of a folder, in order of names.
[[nodiscard]] std::vector<case_result> run_model_cases(const std::string& folder);

}  // namespace bench
