// Calls both parts and compares their bits. Knows nothing of the library.
#include <cstdio>
#include <cstring>

bool decode_one(const float* q, const float* k, const float* v, float* out);
bool decode_two(const float* q, const float* k, const float* v, float* out);

static float q[4 * 16], k[300 * 2 * 16], v[300 * 2 * 16], out_one[4 * 16], out_two[4 * 16];

int main() {
  unsigned state = 7;
  for (float& x : q)
    x = static_cast<float>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 20) - 2048) / 1024;
  for (float& x : k)
    x = static_cast<float>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 20) - 2048) / 1024;
  for (float& x : v)
    x = static_cast<float>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 20) - 2048) / 1024;
  if (!decode_one(q, k, v, out_one) || !decode_two(q, k, v, out_two)) {
    std::puts("a decode was refused");
    return 1;
  }
  if (std::memcmp(out_one, out_two, sizeof out_one) != 0) {
    std::puts("the two parts give different bits");
    return 1;
  }
  for (float x : out_one)
    if (x != 0) return 0;
  std::puts("nothing was computed");
  return 1;
}
