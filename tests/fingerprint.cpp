// Prints one hash of the answers (outputs and lse, all bytes) for each group of features, and nothing that varies: the
// hashes are those of tests/data/fingerprint.txt for every target (GQA_ISA), compiler, flag and float state. Inputs are
// integers scaled by powers of two. Uses neither exceptions nor RTTI.
//   fingerprint [--ftz]      --ftz: the caller flushes subnormals to zero
#include <cstdio>
#include <cstring>
#include <gqa/gqa.hpp>
#include <initializer_list>
#include <type_traits>
#include <vector>

namespace {

enum class order { token_major, head_major, tiled };
enum class range { plain, subnormal, wide };

struct question {
  std::int64_t q_heads = 4, kv_heads = 2, head_dim = 64, v_head_dim = 64;
  std::int64_t q_len = 1, kv_len = 300, batch = 1;  ///< sequence b has 37 b tokens less
  std::int64_t window = gqa::no_window, sink_tokens = 0, shares = 1, page_size = 0;
  double softcap = 0, scale = 0;  ///< scale 0: the default one
  bool causal = true, alibi = false, bias = false, mask = false, sinks = false;
  order inside = order::token_major;
  range numbers = range::plain;
};

std::uint64_t state = 1;

std::uint32_t random_bits() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<std::uint32_t>(state >> 32);
}

float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// plain: multiples of 2^-22 in [-2, 2); wide: exponents from 2^-20 to 2^12.
float number(range r) {
  const std::uint32_t bits = random_bits();
  if (r == range::subnormal) return float_of(bits & 0x807fffffu);
  if (r == range::wide) return float_of((bits & 0x807fffffu) | (107u + random_bits() % 32u) << 23);
  return static_cast<float>(static_cast<std::int32_t>(bits >> 8) - (1 << 23)) * 0x1p-22f;
}

template <class T>
std::vector<T> numbers(std::int64_t n, range r) {
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& e : x) {
    if constexpr (sizeof(T) == sizeof(std::uint16_t)) {
      if (r == range::subnormal) {
        const auto bits = static_cast<std::uint16_t>(random_bits() & (std::is_same_v<T, gqa::f16> ? 0x83ffu : 0x807fu));
        std::memcpy(static_cast<void*>(&e), &bits, sizeof bits);
        continue;
      }
    }
    e = gqa::from_float<T>(number(r));
  }
  return x;
}

template <class T>
void fold(std::uint64_t& h, const std::vector<T>& x) {
  std::vector<unsigned char> bytes(x.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), x.data(), bytes.size());
  for (const unsigned char byte : bytes) h = (h ^ byte) * 1099511628211u;
}

/// The same tokens in another order: units (sequences or pages) of `room` tokens; K in tiles of 16 where tiled.
template <class T>
std::vector<T> rearranged(const std::vector<T>& source, const question& q, std::int64_t dim, bool tiles,
                          const std::vector<std::int32_t>& pages) {
  const std::int64_t room = q.page_size ? q.page_size : gqa::round_up(q.kv_len, 16);
  const std::int64_t per_sequence = gqa::divide_up(q.kv_len, room);
  std::vector<T> x(static_cast<std::size_t>(q.batch * per_sequence * room * q.kv_heads * dim));
  for (std::int64_t token = 0; token < q.batch * q.kv_len; ++token) {
    const std::int64_t sequence = token / q.kv_len, position = token % q.kv_len, slot = position % room;
    const std::int64_t unit = pages[static_cast<std::size_t>(sequence * per_sequence + position / room)];
    for (std::int64_t head = 0; head < q.kv_heads; ++head)
      for (std::int64_t d = 0; d < dim; ++d) {
        const std::int64_t by_head = unit * q.kv_heads + head;
        const std::int64_t at = q.inside == order::token_major ? ((unit * room + slot) * q.kv_heads + head) * dim + d
                                : !tiles ? (by_head * room + slot) * dim + d
                                         : ((by_head * (room / 16) + slot / 16) * dim + d) * 16 + slot % 16;
        x[static_cast<std::size_t>(at)] = source[static_cast<std::size_t>((token * q.kv_heads + head) * dim + d)];
      }
  }
  return x;
}

template <class Types, class Layout>
bool attend(const question& q, const Layout& layout, gqa::attention_io<Types> io, std::uint64_t& h) {
  gqa::dynamic_spec spec;
  spec.heads = {q.q_heads, q.kv_heads};
  spec.dims = {q.head_dim, q.v_head_dim};
  if (q.scale != 0) spec.scale = q.scale;
  spec.causal = q.causal;
  spec.window = q.window;
  spec.sink_tokens = q.sink_tokens;
  spec.softcap = q.softcap;
  spec.alibi = q.alibi;
  spec.bias = q.bias;
  spec.mask = q.mask;
  spec.sinks = q.sinks;
  spec.lse = true;
  std::vector<std::int64_t> kv_lens;
  for (std::int64_t b = 0; b < q.batch; ++b) kv_lens.push_back(q.kv_len - 37 * b);
  gqa::batch_spec batch;
  batch.size = q.batch;
  batch.q_lens = q.q_len;
  batch.kv_lens = kv_lens;

  const std::int64_t rows = q.batch * q.q_len * q.q_heads, plane = q.q_len * q.kv_len;
  const auto sinks = numbers<float>(q.q_heads, range::plain), slopes = numbers<float>(q.q_heads, range::plain);
  auto bias = numbers<float>(q.bias ? q.batch * q.q_heads * plane : 0, range::plain);
  for (std::size_t i = 0; i < bias.size(); i += 1 + random_bits() % 16) bias[i] = float_of(0xff800000u);  // -inf
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(q.mask ? q.batch * plane : 0));
  for (std::uint8_t& see : mask) see = random_bits() >> 29 != 0;
  gqa::tensor_layouts tensors;
  tensors.bias = {q.q_heads * plane, plane, q.kv_len, 1};
  tensors.mask = {plane, 0, q.kv_len, 1};
  const auto queries = numbers<typename Types::q>(rows * q.head_dim, q.numbers);
  std::vector<typename Types::out> out(static_cast<std::size_t>(rows * q.v_head_dim));
  std::vector<float> lse(static_cast<std::size_t>(rows));
  io.q = queries.data();
  io.out = out.data();
  io.lse = lse.data();
  if (q.sinks) io.sinks = sinks.data();
  if (q.alibi) io.alibi_slopes = slopes.data();
  if (q.bias) io.bias = bias.data();
  if (q.mask) io.mask = mask.data();
  gqa::plan_options options;
  options.shares = q.shares;
  const gqa::status status = gqa::try_attend(spec, batch, layout, io, tensors, options);
  if (!status.ok()) std::printf("%s\n", status.message().c_str());
  fold(h, out);
  fold(h, lse);
  return status.ok();
}

template <class Types>
bool answer(const question& q, std::uint64_t& h) {
  const std::int64_t tokens = q.batch * q.kv_len * q.kv_heads;
  const auto k = numbers<typename Types::k>(tokens * q.head_dim, q.numbers);
  const auto v = numbers<typename Types::v>(tokens * q.v_head_dim, q.numbers);
  const std::int64_t room = q.page_size ? q.page_size : gqa::round_up(q.kv_len, 16);
  const std::int64_t per_sequence = gqa::divide_up(q.kv_len, room), units = q.batch * per_sequence;
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < units; ++i) ids.push_back(static_cast<std::int32_t>(q.page_size ? units - 1 - i : i));
  const auto k_cache = rearranged(k, q, q.head_dim, q.inside == order::tiled, ids);
  const auto v_cache = rearranged(v, q, q.v_head_dim, false, ids);
  gqa::attention_io<Types> io;
  io.k = k_cache.data();
  io.v = v_cache.data();
  if constexpr (sizeof(typename Types::k) == sizeof(float)) {  // pages once only: for f32
    if (q.page_size) {
      const auto make = q.inside == order::token_major  ? gqa::paged_layout::token_major
                        : q.inside == order::head_major ? gqa::paged_layout::head_major
                                                        : gqa::paged_layout::tiled;
      return attend(q, make(gqa::page_table_view::padded(ids.data(), q.batch, per_sequence), units, q.page_size,
                            q.kv_heads, q.head_dim, q.v_head_dim), io, h);
    }
  }
  const auto make = q.inside == order::token_major  ? gqa::contiguous_layout::token_major
                    : q.inside == order::head_major ? gqa::contiguous_layout::head_major
                                                    : gqa::contiguous_layout::tiled;
  return attend(q, make(q.batch, room, q.kv_heads, q.head_dim, q.v_head_dim), io, h);
}

using f32_types = gqa::types<float>;
using half_types = gqa::types<gqa::f16, gqa::f16, gqa::bf16, gqa::f16>;  // q, K, V, output
using brain_types = gqa::types<gqa::bf16, gqa::bf16, gqa::f16, gqa::bf16>;
using questions = std::vector<question>;

template <class Types = f32_types>
bool print(const char* name, const questions& group) {
  state = 1;  // a group's numbers do not depend on the groups before it
  std::uint64_t h = 14695981039346656037u;
  for (const question& q : group)
    if (!answer<Types>(q, h)) return false;
  std::printf("%s %016llx\n", name, static_cast<unsigned long long>(h));
  return true;
}

questions with_dims(std::initializer_list<std::int64_t> dims) {
  questions all;
  for (const std::int64_t dim : dims)
    for (const std::int64_t q_len : {1, 2, 5, 29})
      all.push_back({.head_dim = dim, .v_head_dim = dim, .q_len = q_len, .kv_len = 90});
  return all;
}

bool print_shapes() {
  questions rows, layouts;
  for (const std::int64_t q_len : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 24, 33, 65})
    rows.push_back({.q_heads = 3, .kv_heads = 1, .q_len = q_len, .kv_len = 150});
  for (const order inside : {order::token_major, order::head_major, order::tiled})
    for (const std::int64_t page_size : {0, 1, 7, 16, 48})
      for (const std::int64_t q_len : {1, 19})
        if (inside != order::tiled || page_size % 16 == 0)
          layouts.push_back({.head_dim = 48, .v_head_dim = 40, .q_len = q_len, .kv_len = 290, .batch = 2,
                             .page_size = page_size, .inside = inside});
  const questions apart = {{.head_dim = 192, .v_head_dim = 128},
                           {.q_heads = 16, .kv_heads = 1, .head_dim = 576, .v_head_dim = 512, .kv_len = 100}};
  const questions mha = {{.q_heads = 3, .kv_heads = 3},
                         {.q_heads = 8, .kv_heads = 8, .q_len = 6},
                         {.q_heads = 2, .kv_heads = 2, .q_len = 150, .kv_len = 290}};
  const questions groups = {{.q_heads = 12, .kv_heads = 4},
                            {.q_heads = 14, .kv_heads = 2},
                            {.q_heads = 32, .kv_heads = 2},
                            {.q_heads = 8, .kv_heads = 2, .q_len = 70}};
  const questions mqa = {{.q_heads = 8, .kv_heads = 1},
                         {.q_heads = 29, .kv_heads = 1},
                         {.q_heads = 71, .kv_heads = 1, .q_len = 3}};
  const questions batch = {{.batch = 5},
                           {.q_len = 9, .batch = 3, .shares = 4},
                           {.q_len = 2, .kv_len = 600, .batch = 2, .shares = 16}};
  const questions chunks = {{.head_dim = 32, .v_head_dim = 32, .kv_len = 5000, .shares = 5},
                            {.head_dim = 32, .v_head_dim = 32, .q_len = 12, .kv_len = 2049},
                            {.head_dim = 16, .v_head_dim = 24, .q_len = 300, .kv_len = 1100, .shares = 3}};
  return print("dims_to_16", with_dims({1, 3, 8, 15, 16})) &&
         print("dims_to_80", with_dims({17, 24, 40, 64, 72, 80})) &&
         print("dims_to_256", with_dims({96, 128, 200, 256})) && print("dims_apart", apart) && print("mha", mha) &&
         print("gqa", groups) && print("mqa", mqa) && print("rows", rows) && print("layouts", layouts) &&
         print("batch", batch) && print("chunks", chunks);
}

/// A decode and a prefill with the feature that `set` switches on.
template <class Set>
bool print_feature(const char* name, const Set& set) {
  questions both = {{.kv_len = 400}, {.q_len = 21, .kv_len = 300}};
  for (question& q : both) set(q);
  return print(name, both);
}

const questions everything = {
    {.q_len = 3, .kv_len = 700, .window = 260, .sink_tokens = 3, .shares = 3, .softcap = 15, .alibi = true,
     .bias = true, .mask = true, .sinks = true},
    {.q_heads = 5, .kv_heads = 1, .head_dim = 40, .v_head_dim = 24, .q_len = 17, .batch = 2, .window = 100,
     .alibi = true, .sinks = true}};

bool print_features() {
  const questions windows = {{.kv_len = 900, .window = 300, .sink_tokens = 4},
                             {.q_len = 60, .kv_len = 700, .window = 90, .sink_tokens = 70},
                             {.q_len = 5, .window = 0, .sink_tokens = 3}};
  const questions open = {{.q_len = 7, .causal = false}, {.q_len = 40, .kv_len = 20, .causal = false}};
  const questions scales = {{.scale = 8}, {.q_len = 9, .kv_len = 600, .scale = 300}, {.q_len = 9, .scale = -1e-3}};
  const questions subnormal = {{.numbers = range::subnormal},
                               {.q_len = 40, .scale = 1e30, .numbers = range::subnormal}};
  const questions wide = {{.kv_len = 600, .scale = 1e-4, .numbers = range::wide},
                          {.q_len = 40, .scale = 1e-5, .numbers = range::wide}};
  return print("not_causal", open) && print("window", windows) &&
         print_feature("softcap", [](question& q) { q.softcap = 1.5 * static_cast<double>(q.q_len); }) &&
         print_feature("alibi", [](question& q) { q.alibi = true; }) &&
         print_feature("bias", [](question& q) { q.bias = true; }) &&
         print_feature("mask", [](question& q) { q.mask = true; }) &&
         print_feature("sinks", [](question& q) { q.sinks = true; }) &&
         print_feature("sinks_alone", [](question& q) { q.sinks = true, q.window = 0; }) && print("scale", scales) &&
         print("subnormal", subnormal) && print("wide", wide) && print("everything", everything);
}

bool print_storage() {
  questions all = everything;
  for (const order inside : {order::token_major, order::head_major, order::tiled})
    for (const std::int64_t q_len : {1, 3, 40})
      all.push_back({.q_heads = 6, .head_dim = 72, .v_head_dim = 52, .q_len = q_len, .kv_len = 330, .inside = inside});
  all.push_back({.q_len = 4, .scale = 1e9, .numbers = range::subnormal});
  all.push_back({.q_len = 4, .scale = 1e-4, .numbers = range::wide});
  return print<half_types>("f16_bf16", all) && print<brain_types>("bf16_f16", all);
}

void flush_subnormals() {
#if GQA_X86
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
  std::uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | 1u << 24));
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--ftz") == 0)
    flush_subnormals();
  else if (argc != 1)
    return std::puts("usage: fingerprint [--ftz]"), 2;
  return print_shapes() && print_features() && print_storage() ? 0 : 1;
}
