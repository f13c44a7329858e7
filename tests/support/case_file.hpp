// A case file of CASES.md as a problem with its answer: tensors q, k, v, out, lse and the optional ones by name,
// numbers in the metadata. Names, dtypes, shapes and lengths are checked against each other.
#pragma once

#include <charconv>
#include <string>
#include <vector>

#include "problem.hpp"
#include "safetensors.hpp"

namespace gqa_test {

struct case_file {
  problem question;
  std::vector<double> out, lse;  ///< [batch][q_len][q_heads][v_head_dim] and [batch][q_len][q_heads]
};

namespace detail {

[[nodiscard]] inline double number(const safetensors& file, const char* key, double absent) {
  const auto it = file.metadata.find(key);
  if (it == file.metadata.end()) return absent;
  std::size_t used = 0;
  const double value = std::stod(it->second, &used);
  if (used != it->second.size()) throw std::runtime_error(std::string(key) + " is no number: " + it->second);
  return value;
}

[[nodiscard]] inline std::int64_t integer(const safetensors& file, const char* key, std::int64_t absent) {
  const auto it = file.metadata.find(key);
  if (it == file.metadata.end()) return absent;
  std::int64_t value = 0;
  const char* end = it->second.data() + it->second.size();
  const auto [stop, error] = std::from_chars(it->second.data(), end, value);
  if (error != std::errc() || stop != end) throw std::runtime_error(std::string(key) + " is no integer: " + it->second);
  return value;
}

[[nodiscard]] inline const tensor& need(const safetensors& file, const char* name) {
  const auto it = file.tensors.find(name);
  if (it == file.tensors.end()) throw std::runtime_error(std::string("tensor ") + name + " is missing");
  return it->second;
}

[[nodiscard]] inline const tensor& need(const safetensors& file, const char* name,
                                        const std::vector<std::int64_t>& shape) {
  const tensor& t = need(file, name);
  if (t.shape != shape) throw std::runtime_error(std::string("tensor ") + name + " has an unexpected shape");
  return t;
}

}  // namespace detail

/// Throws std::exception with what is wrong, an `op` other than attention included.
[[nodiscard]] inline case_file read_case(const std::string& path) {
  const safetensors file = read_safetensors(path);
  const auto op = file.metadata.find("op");
  if (op == file.metadata.end()) throw std::runtime_error("op is missing: expected attention");
  if (op->second != "attention") throw std::runtime_error("op is " + op->second + ": expected attention");

  const tensor &q = detail::need(file, "q"), &k = detail::need(file, "k"), &v = detail::need(file, "v");
  if (q.shape.size() != 4 || k.shape.size() != 4 || v.shape.size() != 4)
    throw std::runtime_error("q, k and v have 4 axes");
  const std::int64_t batch = q.shape[0], q_len = q.shape[1], kv_len = k.shape[1];

  gqa::dynamic_spec spec;
  spec.heads = {detail::integer(file, "q_heads", q.shape[2]), detail::integer(file, "kv_heads", k.shape[2])};
  spec.dims = {detail::integer(file, "head_dim", q.shape[3]), detail::integer(file, "v_head_dim", v.shape[3])};
  if (file.metadata.count("scale")) spec.scale = detail::number(file, "scale", 0);
  spec.causal = detail::integer(file, "causal", 0) != 0;
  spec.window = detail::integer(file, "window", -1);
  spec.sink_tokens = detail::integer(file, "sink_tokens", 0);
  spec.softcap = detail::number(file, "softcap", 0);
  spec.lse = true;
  spec.sinks = file.tensors.count("sinks") != 0;
  spec.alibi = file.tensors.count("alibi_slopes") != 0;
  spec.bias = file.tensors.count("bias") != 0;
  spec.mask = file.tensors.count("mask") != 0;
  const auto [q_heads, kv_heads] = spec.heads;
  const auto [head_dim, v_head_dim] = spec.dims;

  std::int64_t bias_heads = 1;
  if (spec.bias) {
    const tensor& bias = detail::need(file, "bias");
    if (bias.shape.size() == 4 && bias.shape[1] == q_heads) bias_heads = q_heads;
    (void)detail::need(file, "bias", {batch, bias_heads, q_len, kv_len});
  }
  case_file c;
  problem& p = c.question = make_problem(spec, batch, q_len, kv_len, bias_heads);
  p.name = path.substr(path.find_last_of('/') + 1);
  p.q = detail::need(file, "q", {batch, q_len, q_heads, head_dim}).as<double>();
  p.k = detail::need(file, "k", {batch, kv_len, kv_heads, head_dim}).as<double>();
  p.v = detail::need(file, "v", {batch, kv_len, kv_heads, v_head_dim}).as<double>();
  if (spec.sinks) p.sinks = detail::need(file, "sinks", {q_heads}).as<double>();
  if (spec.alibi) p.alibi_slopes = detail::need(file, "alibi_slopes", {q_heads}).as<double>();
  if (spec.bias) p.bias = detail::need(file, "bias").as<double>();
  if (spec.mask) p.mask = detail::need(file, "mask", {batch, q_len, kv_len}).as<std::uint8_t>();
  if (file.tensors.count("q_lens")) p.q_lens = detail::need(file, "q_lens", {batch}).as<std::int64_t>();
  if (file.tensors.count("kv_lens")) p.kv_lens = detail::need(file, "kv_lens", {batch}).as<std::int64_t>();
  for (std::size_t b = 0; b < p.q_lens.size(); ++b) {
    if (p.q_lens[b] < 0 || p.q_lens[b] > q_len) throw std::runtime_error("q_lens outside the tensor");
    if (p.kv_lens[b] < 0 || p.kv_lens[b] > kv_len) throw std::runtime_error("kv_lens outside the tensor");
    p.q_start[b] = p.kv_lens[b] - p.q_lens[b];
  }
  c.out = detail::need(file, "out", {batch, q_len, q_heads, v_head_dim}).as<double>();
  c.lse = detail::need(file, "lse", {batch, q_len, q_heads}).as<double>();
  return c;
}

}  // namespace gqa_test
