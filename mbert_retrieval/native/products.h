// Products of activations with weights in int8. Each row of activations is quantised with its own scale
// when multiplied, each row of weights in advance. Activations may consist of two halves that are gated
// first: gelu(first) * second, as in GeGLU (Shazeer 2020).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace mbert {

constexpr int64_t ROWS_IN_CACHE = 96;  // rows of activations that are multiplied together

inline auto quantise_kernel(float) { return kernels().quantise_float; }
inline auto quantise_kernel(BFloat16) { return kernels().quantise_bfloat16; }
inline auto multiply_kernel(float) { return kernels().multiply_float; }
inline auto multiply_kernel(BFloat16) { return kernels().multiply_bfloat16; }

// Write number k of column o of a matrix with `inputs` rows, as the tier stores it.
inline void put_number(uint8_t* packed, int64_t o, int64_t k, int64_t inputs, int8_t number) {
  uint8_t* at = packed + kernels().column_position(o, k, inputs);
  if (kernels().operand_bytes == 2)
    *reinterpret_cast<int16_t*>(at) = number;
  else
    *reinterpret_cast<int8_t*>(at) = number;
}

// Quantise (outputs, inputs) weights. packed: outputs * inputs * operand_bytes.
inline void pack_weights(const float* weights, int64_t outputs, int64_t inputs, uint8_t* packed,
                         float* scales, int32_t* offsets) {
  for (int64_t o = 0; o < outputs; ++o) {
    const float* row = weights + o * inputs;
    float highest = 0;
    for (int64_t k = 0; k < inputs; ++k) highest = std::max(highest, std::abs(row[k]));
    const float factor = highest > 0 ? 127 / highest : 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      const auto rounded = static_cast<int8_t>(std::lrint(row[k] * factor));
      put_number(packed, o, k, inputs, rounded);
      sum += rounded;
    }
    scales[o] = highest / 127;
    offsets[o] = -kernels().activation_offset * sum;
  }
}

template <typename Number>
void multiply_all(const Number* x, int64_t rows, const Int8Weights& weights, bool gated, int threads,
                  Number* out) {
  const auto quantise = quantise_kernel(Number{});
  const auto multiply = multiply_kernel(Number{});
  const int64_t inputs = weights.inputs, width = inputs * kernels().operand_bytes;
  const int64_t block_rows = std::clamp<int64_t>((rows + threads - 1) / threads, 1, ROWS_IN_CACHE);
  in_threads(threads, (rows + block_rows - 1) / block_rows, [&](int64_t block, int) {
    const int64_t first = block * block_rows, count = std::min(block_rows, rows - first);
    std::vector<float> row(inputs);
    std::vector<uint8_t> quantised(count * width);
    float scales[ROWS_IN_CACHE];
    for (int64_t r = 0; r < count; ++r)
      scales[r] = quantise(x + (first + r) * inputs * (gated ? 2 : 1), inputs, gated, row.data(),
                           quantised.data() + r * width);
    multiply(quantised.data(), scales, count, weights, out + first * weights.outputs);
  });
}

}  // namespace mbert
