// What a compiled target offers: plain functions over pointers and numbers. Kernels know rows, keys and elements;
// layouts, masks, sequences and threads stay with the caller (plan/attend_unit.hpp). Offsets are in bytes, strides of
// f32 scratch in elements. S, the tile of scores, has one row a query row and block_keys columns, column = position %
// block_keys.
#pragma once

#include <cstdint>

#include "../base/storage.hpp"
#include "../isa/target.hpp"
#include "../model/arithmetic.hpp"

#if !defined(GQA_PREFETCH)  // a test counts them
#define GQA_PREFETCH(address, locality) __builtin_prefetch(address, 0, locality)
#endif

GQA_NAMESPACE_BEGIN

inline constexpr std::int64_t line_bytes = 64;           ///< what a prefetch brings
inline constexpr std::int64_t memory_page_bytes = 4096;  ///< of the smallest, at whose end hardware stops following

/// Keys or values of one KV head: element j of token i lies at base + offsets[i] + j * element size.
struct row_table {
  const char* base = nullptr;
  const std::int64_t* offsets = nullptr;
};

/// What kernels prefetch while they read rows, hints only: with byte b of row i, byte b * spread from base + offsets[i]
/// on or, without offsets, from base + i * stride. Of tile i, unless `spread` is 1, element j of lane l brings what
/// lies i * stride + l * spread bytes and j * 16 elements on; such a tile is read in one pass, of whole lanes.
struct rows_ahead : row_table {
  std::int64_t stride = 0;  ///< also from row to row where rows are evenly spaced
  std::int64_t spread = 1;
  /// Into the first level of cache, not the second; heeded by tiles of up to as many rows as an element has bytes.
  bool first_level = false;
};

/// Rows that a kernel reads, and what it prefetches meanwhile, but for packed ones.
struct row_set : row_table {
  rows_ahead ahead;
  std::int64_t count;
  /// Not 0: rows lie this far apart in each `run` of them, a power of two and at least row_group, and of the tables
  /// only each row_group's first entry counts. The first row starts a group, and either a run or all there is of one.
  std::int64_t stride = 0, run = 1;
};
inline constexpr std::int64_t row_group = 8;

/// Query rows of a dot product's register tiles: up to `alone` (4, 6 or 8) make one, which reads each key once; of
/// more, `each` takes so many (4, 6 or 8, at most `alone`), or 4.
struct dot_tiling {
  std::int64_t alone, each;
};

/// Rows of the next tile, after `done` of all rows: 3 and 2 rather than a single one at the end. `each` of 6 only among
/// many: measured.
[[nodiscard]] constexpr std::int64_t dot_tile_rows(std::int64_t rows, std::int64_t done, dot_tiling tiles) noexcept {
  const std::int64_t left = rows - done;
  if (rows <= tiles.alone) return rows;
  if (left >= 8 && left != 9 && tiles.each == 8) return 8;
  if (left >= 9 && rows >= 24 && tiles.each == 6) return 6;
  return left == 5 || left == 6 ? 3 : left < 4 ? left : 4;
}

/// How a target's processors were measured to read from memory best: what plan/reading_order.hpp, and for the pieces of
/// a value weigh, decide by. The defaults are AVX2's.
struct memory_traits {
  /// Bytes of a token's interleaved rows, up to which those of the next tokens find room in the second level of cache.
  std::int64_t largest_token = 8 * 1024;
  std::int64_t beside_rows = 1;  ///< up to so many rows, each piece of a value prefetches the next piece as well
};

/// S[r][c] = scale * (q_r . k_c) for `rows` x `keys.count`; count is a multiple of 8.
struct score_args {
  /// In tiles of n rows, zero-padded. dot: [padded dim / 8][n][8], n = dot_tile_rows(rows, done, dot_rows);
  /// keys in tiles: [padded dim][n], n = row_tile; in packed panels: [8][padded dim / 8][n].
  const float* q;
  std::int64_t rows;
  row_set keys;      ///< dot: one offset a key; tiles: one offset a tile of 16
  std::int64_t dim;  ///< head_dim
  float scale;
  float* s;                       ///< at the first of these columns
  bool halves_registers = false;  ///< processor_traits
  /// dot: read each key from end to end before the next; heeded by tiles of up to as many rows as an
  /// element has bytes.
  bool in_turn = false;
  /// tiles: one by one, asking for the first line only of each that is ahead, and of each memory page in it.
  bool first_lines = false;
};

/// Weights of a block, in place of its scores, and what they do to the running state.
struct soften_args {
  float* s;
  std::int64_t rows;
  std::int64_t begin, end;  ///< columns to work on, multiples of 16
  float* m;                 ///< [rows] integer maximum, -inf while nothing was seen
  float* l;                 ///< [rows][sum_lanes]
  float* o;                 ///< [rows][o_stride]
  std::int64_t o_stride;
  bool hidden;  ///< some score may be -inf
};

/// o_r += sum over tokens of p[r][token] * v_token, tokens in order.
struct weigh_args {
  const float* p;  ///< S at the first token's column
  std::int64_t rows;
  row_set values;
  std::int64_t dim;  ///< v_head_dim
  float* o;
  std::int64_t o_stride;
};

/// Partial results of some rows: o [rows][o_stride], m [rows], l [rows].
struct state_rows {
  float* o;
  float* m;
  float* l;
  std::int64_t o_stride;
};

inline constexpr std::int64_t max_row_tile = 16;

struct kernel_table {
  isa target;
  std::int64_t row_tile;       ///< query rows of a panel product's register tile, at most max_row_tile
  dot_tiling dot_rows;         ///< query rows of a dot product's register tiles
  std::int64_t unpacked_rows;  ///< up to so many rows, keys are best read as they lie, not packed first
  std::int64_t value_columns;  ///< up to so many, a single row reads a value's columns in one pass, or nearly
  std::int64_t one_pass_rows;  ///< up to so many read a dim-major tile in one pass
  memory_traits memory;

  // q: f32 from the query's type, zero up to padded_dim; in tiles for dot products, or in panels of row_tile rows
  void (*load_query)(const void* source, std::int64_t dim, std::int64_t padded_dim, float* destination,
                     std::int64_t tile_rows) noexcept;
  void (*pack_queries)(const void* const* rows, const void* const* ahead, std::int64_t count, std::int64_t dim,
                       std::int64_t padded_dim, bool by_lane, float* panel) noexcept;
  // K
  void (*score_dot)(const score_args&) noexcept;    ///< few rows, keys as rows
  void (*score_tiles)(const score_args&) noexcept;  ///< few rows, keys in dim-major tiles
  void (*pack_rows)(const row_set& keys, std::int64_t dim,
                    float* panels) noexcept;  ///< -> [count / 16][8][padded dim / 8][16]
  void (*pack_tiles)(const row_set& keys, std::int64_t dim, float* panels) noexcept;
  void (*score_panels)(const score_args&) noexcept;  ///< many rows, packed f32 panels
  // V
  void (*weigh)(const weigh_args&) noexcept;
  void (*weigh_packed)(const weigh_args&) noexcept;  ///< the same on f32 rows `stride` apart: one offset, no prefetch
  void (*pack_values)(const row_set& values, std::int64_t dim, float* rows, std::int64_t stride) noexcept;
  bool (*values_finite)(const row_set& values, std::int64_t dim) noexcept;
  // score modifiers, on n consecutive scores of a row
  void (*softcap)(float* s, std::int64_t n, float cap, float inverse_cap) noexcept;
  void (*alibi)(float* s, std::int64_t n, float slope, std::int64_t first_distance) noexcept;
  void (*add_bias)(float* s, std::int64_t n, const float* bias, std::int64_t stride) noexcept;
  // state
  void (*soften)(const soften_args&) noexcept;
  void (*fold_sums)(const float* lanes, std::int64_t rows, float* l) noexcept;  ///< [rows][sum_lanes] -> [rows]
  void (*merge)(const state_rows& into, const state_rows& from, std::int64_t rows, std::int64_t dim) noexcept;
  void (*finish)(float* o, float m, float l, const float* sink, std::int64_t dim, void* out, float* lse) noexcept;
};

/// The kernels of `target`, which the machine must support (isa/detect.hpp). Defined in kernels_for.hpp.
template <element Q, element K, element V, element Out>
[[nodiscard]] const kernel_table* kernels_for(isa target) noexcept;

GQA_NAMESPACE_END
