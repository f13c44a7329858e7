// One program for every set of flags: prints a hash of each answer. The hashes must be those in decode_bits.txt,
// whatever the compiler, its flags, or GQA_ISA. Uses neither exceptions nor RTTI.
#include <cstdio>
#include <cstring>
#include <gqa/gqa.hpp>
#include <vector>

namespace {

std::uint64_t state = 1;

/// Multiples of 2^-12 in [-2, 2): every one is exact, whatever the flags.
float next_number() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<float>(static_cast<int>(state >> 50) - 8192) * 0x1p-12f;
}

std::vector<float> numbers(std::size_t n) {
  std::vector<float> x(n);
  for (float& e : x) e = next_number();
  return x;
}

std::uint64_t hash(std::uint64_t h, const std::vector<float>& x) {
  for (const float& e : x) {
    std::uint32_t bits;
    std::memcpy(&bits, &e, sizeof bits);
    for (int i = 0; i < 4; ++i) h = (h ^ (bits >> 8 * i & 255)) * 1099511628211u;
  }
  return h;
}

struct variant {
  const char* name;
  std::int64_t q_len;
  std::int64_t window;
  std::int64_t sink_tokens;
  double softcap;
  bool alibi;
  bool sinks;
};

constexpr variant variants[] = {
    {"decode", 1, gqa::no_window, 0, 0, false, false},
    {"softcap", 1, gqa::no_window, 0, 20, false, false},
    {"window", 1, 300, 4, 0, false, false},
    {"alibi", 2, gqa::no_window, 0, 0, true, false},
    {"sinks", 3, gqa::no_window, 0, 0, false, true},
    {"prefill", 40, gqa::no_window, 0, 0, false, false},
    {"everything", 17, 260, 3, 15, true, true},
};

}  // namespace

int main() {
  constexpr std::int64_t q_heads = 6, kv_heads = 2, head_dim = 40, v_head_dim = 24, kv_len = 700;
  using spec_type = gqa::attention_spec<gqa::heads<q_heads, kv_heads>, gqa::dims<head_dim, v_head_dim>>;
  const std::vector<float> k = numbers(kv_len * kv_heads * head_dim), v = numbers(kv_len * kv_heads * v_head_dim);
  const std::vector<float> slopes = numbers(q_heads), sinks = numbers(q_heads);
  const auto layout = gqa::contiguous_layout::token_major(1, kv_len, kv_heads, head_dim, v_head_dim);
  for (const variant& test : variants) {
    spec_type spec;
    spec.window = test.window;
    spec.sink_tokens = test.sink_tokens;
    spec.softcap = test.softcap;
    spec.alibi = test.alibi;
    spec.sinks = test.sinks;
    spec.lse = true;
    gqa::batch_spec batch;
    batch.q_lens = test.q_len;
    batch.kv_lens = kv_len;
    const auto rows = static_cast<std::size_t>(test.q_len * q_heads);
    const std::vector<float> q = numbers(rows * head_dim);
    std::vector<float> out(rows * v_head_dim), lse(rows);
    gqa::attention_io<gqa::types<>> io;
    io.q = q.data();
    io.k = k.data();
    io.v = v.data();
    io.out = out.data();
    io.lse = lse.data();
    io.alibi_slopes = test.alibi ? slopes.data() : nullptr;
    io.sinks = test.sinks ? sinks.data() : nullptr;
    gqa::plan_options options;
    options.shares = 3;
    const gqa::status status = gqa::try_attend(spec, batch, layout, io, {}, options);
    if (!status.ok()) {
      std::printf("%s: %s\n", test.name, status.message().c_str());
      return 1;
    }
    std::printf("%s %016llx\n", test.name,
                static_cast<unsigned long long>(hash(hash(14695981039346656037u, out), lse)));
  }
}
