// The kernels that are compiled once per instruction-set tier, as a table of functions.
//
// A tier is a file in tiers/. Its functions take plain pointers, allocate nothing and throw nothing:
// memory, threads and checks are up to the callers.
#pragma once

#include <cstdint>

namespace mbert {

constexpr int LANES = 16;         // columns of a block in packed operands, the same in all tiers
constexpr int MOST_QUERIES = 24;  // queries of an attention block, in any tier
constexpr int MOST_TILE = 32;     // keys of an attention tile, in any tier
constexpr int MOST_HEAD = 256;    // dimension of an attention head
constexpr int MOST_ROWS = 8;      // passage vectors that are scored together, in any tier
constexpr int UNPACKED_SLACK = 64;

struct BFloat16 {
  uint16_t bits;
};

// Packed sequences for attention.
template <typename Number>
struct AttentionBatch {
  const Number* qkv;    // (N, 3, heads, D)
  const float* cosine;  // (N, D / 2)
  const float* sine;
  Number* out;              // (N, heads, D); in the backward pass the gradient of qkv
  const Number* gradients;  // (N, heads, D) the gradient of the output, in the backward pass
  int64_t heads, dimension, window;

  // part of each caller, since callers are compiled for different processors
  __attribute__((always_inline)) int64_t position(int64_t token, int which, int64_t head) const {
    return ((token * 3 + which) * heads + head) * dimension;
  }
  __attribute__((always_inline)) const Number* at(int64_t token, int which, int64_t head) const {
    return qkv + position(token, which, head);
  }
};

// One head of one sequence.
struct Head {
  int64_t start, length, head;
};

// Memory of one thread for the longest sequence, L tokens rounded up to MOST_TILE.
struct AttentionScratch {
  float* queries;  // (MOST_QUERIES, D) rotated and scaled
  float* keys;     // (L, D) rotated, in tiles
  float* values;   // (L, D)
  float* scores;   // (MOST_QUERIES, L)
  // for the backward pass only
  float* key_rows;         // (L, D) rotated
  float* outputs;          // (MOST_QUERIES, D) the gradient of the output
  float* score_gradients;  // (MOST_QUERIES, L)
  float* key_gradients;    // (L, D)
  float* value_gradients;  // (L, D)
};

// A weight matrix in int8, in the layout of the tier that packed it.
struct Int8Weights {
  const uint8_t* packed;
  const float* scales;     // (O)
  const int32_t* offsets;  // (O) what is added to each sum of integers
  int64_t inputs, outputs;
};

// Query vectors in int8 for the scores of residuals, in the layout of the tier.
struct Int8Query {
  const uint8_t* vectors;
  const float* table;    // (centroids, lanes) inner products with the centroids
  const float* factors;  // (lanes) what a sum of integers is multiplied by
  int64_t lanes, padded;
};

// The vectors of one passage: a centroid and a packed residual each.
struct PassageVectors {
  const void* codes;  // uint16_t or uint32_t
  const uint8_t* residuals;
  int64_t count, bytes;  // vectors, and bytes per residual
  int64_t last_centroid;
  int bits;
  const int8_t* buckets;  // (max(16, 2^bits))
};

struct Kernels {
  const char* name;
  bool int8_is_fast;       // whether int8 products take less time than torch's in float32
  bool attention_is_fast;  // whether attention takes less time than torch's

  void (*attend_float)(const AttentionBatch<float>&, const Head&, const AttentionScratch&);
  void (*attend_bfloat16)(const AttentionBatch<BFloat16>&, const Head&, const AttentionScratch&);
  void (*attend_float_backward)(const AttentionBatch<float>&, const Head&, const AttentionScratch&);
  void (*attend_bfloat16_backward)(const AttentionBatch<BFloat16>&, const Head&, const AttentionScratch&);

  // Bytes of a packed number: K numbers of a column, or of a row of activations, take K times as much.
  int operand_bytes;
  // Added to activations when they are quantised, times the sums of the weights to be taken off.
  int activation_offset;
  // The byte where number k of column o is, in a matrix with K rows.
  int64_t (*column_position)(int64_t o, int64_t k, int64_t inputs);
  // Quantise a row of activations; returns its scale. gated: x is two halves, for gelu(first) * second.
  float (*quantise_float)(const float* x, int64_t inputs, bool gated, float* row, uint8_t* out);
  float (*quantise_bfloat16)(const BFloat16* x, int64_t inputs, bool gated, float* row, uint8_t* out);
  // Multiply `count` quantised rows with all weights.
  void (*multiply_float)(const uint8_t* rows, const float* scales, int64_t count,
                         const Int8Weights& weights, float* out);
  void (*multiply_bfloat16)(const uint8_t* rows, const float* scales, int64_t count,
                            const Int8Weights& weights, BFloat16* out);

  // Update in each of 16 lanes the best score x.c - half_norms[c] and the number of its centroid. The
  // numbers of these `count` centroids begin at `first`. tile: (D, 16).
  void (*best_of_block)(const float* tile, const float* centroids, const float* half_norms, int64_t count,
                        int64_t dimension, int32_t first, float* best_score, int32_t* best_number);
  // Write scores[c * stride + lane] = x.c - half_norms[c], or x.c if half_norms is null.
  void (*scores_of_block)(const float* tile, const float* centroids, const float* half_norms,
                          int64_t count, int64_t dimension, float* scores, int64_t stride);
  // Write groups[lane * p + rank]: the p best, at most 32, of `count` scores (count, 16) in each lane.
  void (*best_groups)(const float* scores, int64_t count, int p, int32_t* groups);
  // Write the bucket number of each of a residual's components, at most 1024.
  void (*bucket_numbers)(const float* x, const float* centroid, const float* inverse_scale,
                         int64_t dimension, const float* cutoffs, int64_t cuts, uint8_t* numbers);

  // best[lane] = max over a passage's vectors of table[code][lane] + factor[lane] * (bucket . query).
  // scratch: MOST_ROWS * (padded * operand_bytes + UNPACKED_SLACK) bytes.
  void (*max_sim16)(const PassageVectors&, const Int8Query&, uint8_t* scratch, float* best);
  void (*max_sim32)(const PassageVectors&, const Int8Query&, uint8_t* scratch, float* best);
  // Sum, over a query's vectors, of the highest level of any of a passage's centroids. levels:
  // (centroids, width), width a multiple of 16.
  uint32_t (*level_sum16)(const uint16_t* codes, int64_t count, uint64_t last, const uint8_t* levels,
                          int64_t width);
  uint32_t (*level_sum32)(const uint32_t* codes, int64_t count, uint64_t last, const uint8_t* levels,
                          int64_t width);
  // Extend low[lane] and high[lane] to the range of table[begin..end - 1][lane].
  void (*widen_range)(const float* table, int64_t begin, int64_t end, int64_t lanes, float* low,
                      float* high);
  // Write levels[c][lane]: 255 for the lane's highest score, and one less for each step below it.
  void (*to_levels)(const float* table, int64_t begin, int64_t end, int64_t lanes, const float* high,
                    float inverse_step, uint8_t* levels);
  bool (*any_at_least)(const uint8_t* levels, const uint8_t* thresholds, int64_t lanes);
};

// The table of the tier in use: the best that the processor allows, or the one that the environment
// variable MBERT_TIER names. Throws std::runtime_error where that one is not to be had.
const Kernels& kernels();

// The names of the tiers that this processor allows, best first, separated by spaces.
const char* available_tiers();

}  // namespace mbert
