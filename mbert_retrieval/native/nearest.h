// The nearest centroid of each vector, and the sums that k-means needs.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace mbert {

inline void fill_tile(const float* vectors, const int64_t* rows, int filled, int64_t dimension,
                      float* tile) {
  for (int lane = 0; lane < LANES; ++lane) {
    const float* x = vectors + rows[lane < filled ? lane : 0] * dimension;
    for (int64_t d = 0; d < dimension; ++d) tile[d * LANES + lane] = x[d];
  }
}

// Centroids in groups, each with a leader. A vector is compared with the leaders, and then with the
// members of its `probes` best groups. With a single group, the search is exact.
struct Router {
  const float *leaders, *leader_norms, *members, *member_norms;
  const int64_t* bounds;  // (groups + 1): where each group's members begin
  int64_t groups, dimension;
  int probes;
};

inline void nearest_in_chunk(const Router& router, const float* vectors, int64_t count,
                             int32_t* nearest) {
  const int64_t dimension = router.dimension;
  const int probes = router.probes;
  std::vector<float> tile(dimension * LANES), scores(router.groups * LANES);
  std::vector<int32_t> groups((count + LANES) * probes);
  int64_t rows[LANES];
  for (int64_t first = 0; first < count && router.groups > 1; first += LANES) {
    const int filled = static_cast<int>(std::min<int64_t>(LANES, count - first));
    for (int lane = 0; lane < filled; ++lane) rows[lane] = first + lane;
    fill_tile(vectors, rows, filled, dimension, tile.data());
    kernels().scores_of_block(tile.data(), router.leaders, router.leader_norms, router.groups, dimension,
                              scores.data(), LANES);
    kernels().best_groups(scores.data(), router.groups, probes, groups.data() + first * probes);
  }
  // the vectors that are compared with each group, by a counting sort
  std::vector<int64_t> begin(router.groups + 1, 0);
  for (int64_t i = 0; i < count * probes; ++i) ++begin[groups[i] + 1];
  for (int64_t g = 0; g < router.groups; ++g) begin[g + 1] += begin[g];
  std::vector<int64_t> visitors(count * probes), next(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count * probes; ++i) visitors[next[groups[i]]++] = i / probes;

  std::vector<float> best(count, -std::numeric_limits<float>::infinity());
  std::fill(nearest, nearest + count, 0);
  float best_score[LANES];
  int32_t best_number[LANES];
  for (int64_t g = 0; g < router.groups; ++g) {
    const int64_t start = router.bounds[g], members = router.bounds[g + 1] - start;
    for (int64_t v = begin[g]; v < begin[g + 1]; v += LANES) {
      const int filled = static_cast<int>(std::min<int64_t>(LANES, begin[g + 1] - v));
      const int64_t* visiting = visitors.data() + v;
      for (int lane = 0; lane < LANES; ++lane) {
        const int64_t row = visiting[lane < filled ? lane : 0];
        best_score[lane] = best[row];
        best_number[lane] = nearest[row];
      }
      fill_tile(vectors, visiting, filled, dimension, tile.data());
      kernels().best_of_block(tile.data(), router.members + start * dimension,
                              router.member_norms + start, members, dimension,
                              static_cast<int32_t>(start), best_score, best_number);
      for (int lane = 0; lane < filled; ++lane) {
        best[visiting[lane]] = best_score[lane];
        nearest[visiting[lane]] = best_number[lane];
      }
    }
  }
}

// The nearest member of each vector, as its row in `members`.
inline void nearest_members(const Router& router, const float* vectors, int64_t count, int threads,
                            int32_t* nearest) {
  const int64_t chunk = std::clamp<int64_t>(count / (4 * threads), 256, 8192);
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    const int64_t first = block * chunk;
    nearest_in_chunk(router, vectors + first * router.dimension, std::min(chunk, count - first),
                     nearest + first);
  });
}

// sums[code] += vector, counts[code] += 1
inline void accumulate(const float* vectors, const int32_t* codes, int64_t count, int64_t dimension,
                       float* sums, int64_t* counts) {
  for (int64_t i = 0; i < count; ++i) {
    float* row = sums + codes[i] * dimension;
    for (int64_t d = 0; d < dimension; ++d) row[d] += vectors[i * dimension + d];
    ++counts[codes[i]];
  }
}

}  // namespace mbert
