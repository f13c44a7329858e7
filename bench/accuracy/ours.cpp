// This library's output for compare_torch.py: reads q, k, v ([token][head][dim], f32) from a folder, writes out.bin.
//
//   ours FOLDER q_heads kv_heads head_dim q_len kv_len causal
#include <cstdio>
#include <fstream>
#include <gqa/gqa.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::vector<float> read(const std::string& path, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float))))
    throw std::runtime_error("cannot read " + path);
  return values;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 8) throw std::runtime_error("usage: ours FOLDER q_heads kv_heads head_dim q_len kv_len causal");
  const std::string folder = argv[1];
  std::int64_t n[6];
  for (int i = 0; i < 6; ++i) n[i] = std::stoll(argv[2 + i]);
  const std::int64_t q_heads = n[0], kv_heads = n[1], dim = n[2], q_len = n[3], kv_len = n[4];
  const auto q = read(folder + "/q.bin", q_len * q_heads * dim), k = read(folder + "/k.bin", kv_len * kv_heads * dim),
             v = read(folder + "/v.bin", kv_len * kv_heads * dim);
  std::vector<float> out(q.size());

  gqa::attention_spec<> spec;
  spec.heads = {q_heads, kv_heads};
  spec.dims = {dim, dim};
  spec.causal = n[5] != 0;
  gqa::batch_spec batch;
  batch.q_lens = q_len;
  batch.kv_lens = kv_len;
  const auto layout = gqa::contiguous_layout::token_major(1, kv_len, kv_heads, dim, dim);
  gqa::attention_io<gqa::types<float>> io;
  io.q = q.data();
  io.k = k.data();
  io.v = v.data();
  io.out = out.data();
  gqa::attend(spec, batch, layout, io);

  std::ofstream file(folder + "/out.bin", std::ios::binary);
  file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(float)));
  return file.flush() ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "ours: %s\n", e.what());
  return 1;
}
