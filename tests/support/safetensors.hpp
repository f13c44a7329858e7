// Reads a .safetensors file: 8 bytes of header length (little endian), a JSON header, then the tensors' bytes.
// Every offset, shape and length is checked before a byte of a tensor is looked at.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace gqa_test {

struct tensor {
  std::string dtype;  ///< F64, F32, I32, BOOL, ...
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;

  [[nodiscard]] std::int64_t size() const {
    std::int64_t n = 1;
    for (std::int64_t extent : shape) n *= extent;
    return n;
  }
  /// Elements converted to T; throws where the dtype is not one of F64, F32, I64, I32, U8, BOOL.
  template <class T>
  [[nodiscard]] std::vector<T> as() const {
    if (dtype == "F64") return read<double, T>();
    if (dtype == "F32") return read<float, T>();
    if (dtype == "I64") return read<std::int64_t, T>();
    if (dtype == "I32") return read<std::int32_t, T>();
    if (dtype == "U8" || dtype == "BOOL") return read<std::uint8_t, T>();
    throw std::runtime_error("unsupported dtype " + dtype);
  }

 private:
  template <class From, class To>
  [[nodiscard]] std::vector<To> read() const {
    std::vector<To> out(static_cast<std::size_t>(size()));
    for (std::size_t i = 0; i < out.size(); ++i) {
      From x;
      std::memcpy(&x, bytes.data() + i * sizeof(From), sizeof(From));
      out[i] = static_cast<To>(x);
    }
    return out;
  }
};

struct safetensors {
  std::map<std::string, tensor> tensors;
  std::map<std::string, std::string> metadata;
};

[[nodiscard]] inline std::uint64_t safetensors_element_bytes(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "U8" || dtype == "BOOL") return 1;
  throw std::runtime_error("unsupported dtype " + dtype);
}

/// Throws std::exception with what is wrong.
[[nodiscard]] inline safetensors read_safetensors(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot be opened");
  const std::vector<char> file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (file.size() < 8) throw std::runtime_error("shorter than its 8-byte header length");
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = header_bytes << 8 | static_cast<unsigned char>(file[static_cast<std::size_t>(i)]);
  if (header_bytes > file.size() - 8) throw std::runtime_error("header longer than the file");
  const std::uint64_t data_bytes = file.size() - 8 - header_bytes;
  const char* header_begin = file.data() + 8;
  const char* data = header_begin + header_bytes;

  safetensors result;
  const nlohmann::json header = nlohmann::json::parse(header_begin, data);
  if (!header.is_object()) throw std::runtime_error("header is no JSON object");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.items()) result.metadata[key] = value.get<std::string>();
      continue;
    }
    tensor t;
    t.dtype = entry.at("dtype").get<std::string>();
    t.shape = entry.at("shape").get<std::vector<std::int64_t>>();
    const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes)
      throw std::runtime_error(name + ": data_offsets outside the file");
    std::uint64_t bytes = safetensors_element_bytes(t.dtype);
    for (std::int64_t extent : t.shape)
      if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes))
        throw std::runtime_error(name + ": bad shape");
    if (bytes != offsets[1] - offsets[0]) throw std::runtime_error(name + ": shape and data_offsets disagree");
    t.bytes.resize(bytes);
    if (bytes > 0) std::memcpy(t.bytes.data(), data + offsets[0], bytes);
    result.tensors.emplace(name, std::move(t));
  }
  return result;
}

}  // namespace gqa_test
