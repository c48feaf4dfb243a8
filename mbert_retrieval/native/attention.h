// Attention over a packed batch: one task per sequence and head.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace mbert {

// Kernels by type of number.
inline auto attend_kernel(float, bool backward) {
  return backward ? kernels().attend_float_backward : kernels().attend_float;
}
inline auto attend_kernel(BFloat16, bool backward) {
  return backward ? kernels().attend_bfloat16_backward : kernels().attend_bfloat16;
}

// Attend, or with batch.gradients compute the gradient. offsets: (sequences + 1).
template <typename Number>
void attend_all(const AttentionBatch<Number>& batch, const int64_t* offsets, int64_t sequences,
                int threads) {
  const bool backward = batch.gradients != nullptr;
  const auto kernel = attend_kernel(Number{}, backward);
  int64_t longest = 0;
  for (int64_t i = 0; i < sequences; ++i) longest = std::max(longest, offsets[i + 1] - offsets[i]);
  const int64_t length = (longest + MOST_TILE - 1) / MOST_TILE * MOST_TILE;
  const int64_t tokens = length * batch.dimension, block = MOST_QUERIES * batch.dimension;
  const int64_t scores = MOST_QUERIES * length;
  const int64_t sizes[] = {block, tokens, tokens, scores, tokens, block, scores, tokens, tokens};
  const int parts = backward ? 9 : 4;
  int64_t total = 0;
  for (int i = 0; i < parts; ++i) total += sizes[i];

  threads = static_cast<int>(std::clamp<int64_t>(sequences * batch.heads, 1, threads));
  std::vector<std::vector<float>> memory(threads);  // of each thread, made when it takes its first task
  in_threads(threads, sequences * batch.heads, [&](int64_t task, int rank) {
    auto& own = memory[rank];
    if (own.empty()) own.resize(total);
    float* at[9] = {};
    float* next = own.data();
    for (int i = 0; i < parts; ++i) {
      at[i] = next;
      next += sizes[i];
    }
    const AttentionScratch scratch{at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8]};
    const int64_t sequence = task / batch.heads, start = offsets[sequence];
    kernel(batch, {start, offsets[sequence + 1] - start, task % batch.heads}, scratch);
  });
}

}  // namespace mbert
