// The nearest centroid of each vector, and the sums that k-means needs.
#pragma once

#include "stages.h"
#include "vectors.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

namespace {

// sum[i][lane] += x[lane] . rows[i], of 16 vectors x transposed to tile[d][lane] and COUNT rows.
template <int COUNT>
INLINED void add_products(const float* tile, const float* rows, int64_t dimension, Floats* sum) {
  for (int64_t d = 0; d < dimension; ++d) {
    const Floats x = *reinterpret_cast<const Floats*>(tile + d * LANES);
    for (int i = 0; i < COUNT; ++i) sum[i] += x * rows[i * dimension + d];
  }
}

// visit(number, scores of 16 lanes) for `count` centroids: x.c - half_norms[c], or x.c where there
// are no half_norms.
template <typename Visit>
INLINED void visit_scores(const float* tile, const float* centroids, const float* half_norms,
                          int64_t count, int64_t dimension, Visit visit) {
  constexpr int TOGETHER = 8;
  const auto norm = [&](int64_t c) { return half_norms ? half_norms[c] : 0.0f; };
  int64_t c = 0;
  for (; c + TOGETHER <= count; c += TOGETHER) {
    Floats sum[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) sum[i] = Floats{} - norm(c + i);
    add_products<TOGETHER>(tile, centroids + c * dimension, dimension, sum);
    for (int i = 0; i < TOGETHER; ++i) visit(c + i, sum[i]);
  }
  for (; c < count; ++c) {
    Floats sum = Floats{} - norm(c);
    add_products<1>(tile, centroids + c * dimension, dimension, &sum);
    visit(c, sum);
  }
}

// In each lane the best score and the number of its centroid, if they beat those that are there.
// The numbers of these `count` centroids begin at `first`.
VECTORISED void best_of_block(const float* tile, const float* centroids, const float* half_norms,
                              int64_t count, int64_t dimension, int32_t first, float* best_score,
                              int32_t* best_number) {
  Floats best = *reinterpret_cast<Floats*>(best_score);
  Ints number = *reinterpret_cast<Ints*>(best_number);
  visit_scores(tile, centroids, half_norms, count, dimension,
               [&](int64_t c, const Floats& score) INLINED_LAMBDA {
                 const Ints better = score > best;
                 best = better ? score : best;
                 number = better ? Ints{} + static_cast<int32_t>(first + c) : number;
               });
  *reinterpret_cast<Floats*>(best_score) = best;
  *reinterpret_cast<Ints*>(best_number) = number;
}

// scores[c * stride + lane] of `count` centroids.
VECTORISED void scores_of_block(const float* tile, const float* centroids, const float* half_norms,
                                int64_t count, int64_t dimension, float* scores, int64_t stride) {
  visit_scores(tile, centroids, half_norms, count, dimension,
               [&](int64_t c, const Floats& score) INLINED_LAMBDA {
                 *reinterpret_cast<Floats*>(scores + c * stride) = score;
               });
}

// The p best of count scores in each lane: groups[lane][p].
VECTORISED void best_groups(const float* scores, int64_t count, int p, int32_t* groups) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  float top[LANES][32];
  Floats last = Floats{} + lowest;
  for (auto& lane : top) std::fill(lane, lane + p, lowest);
  for (int64_t c = 0; c < count; ++c) {
    const Floats score = *reinterpret_cast<const Floats*>(scores + c * LANES);
    const Ints better = score > last;
    for (int lane = 0; lane < LANES; ++lane) {
      if (!better[lane]) continue;
      int place = p - 1;
      for (; place > 0 && top[lane][place - 1] < score[lane]; --place) {
        top[lane][place] = top[lane][place - 1];
        groups[lane * p + place] = groups[lane * p + place - 1];
      }
      top[lane][place] = score[lane];
      groups[lane * p + place] = static_cast<int32_t>(c);
      last[lane] = top[lane][p - 1];
    }
  }
}

void fill_tile(const float* vectors, const int64_t* rows, int filled, int64_t dimension, float* tile) {
  for (int lane = 0; lane < LANES; ++lane) {
    const float* x = vectors + rows[lane < filled ? lane : 0] * dimension;
    for (int64_t d = 0; d < dimension; ++d) tile[d * LANES + lane] = x[d];
  }
}

// Centroids stand in groups, each of which has a leader: a vector is compared with the leaders, and
// then with the members of its `probes` best groups. One group: an exact search.
struct Router {
  const float *leaders, *leader_norms, *members, *member_norms;
  const int64_t* bounds;  // (groups + 1): where each group's members begin
  int64_t groups, dimension;
  int probes;
};

void nearest_in_chunk(const Router& router, const float* vectors, int64_t count, int32_t* nearest) {
  const int64_t dimension = router.dimension;
  const int probes = router.probes;
  std::vector<float> tile(dimension * LANES), scores(router.groups * LANES);
  std::vector<int32_t> groups((count + LANES) * probes);
  int64_t rows[LANES];
  for (int64_t first = 0; first < count && router.groups > 1; first += LANES) {
    const int filled = static_cast<int>(std::min<int64_t>(LANES, count - first));
    for (int lane = 0; lane < filled; ++lane) rows[lane] = first + lane;
    fill_tile(vectors, rows, filled, dimension, tile.data());
    scores_of_block(tile.data(), router.leaders, router.leader_norms, router.groups, dimension,
                    scores.data(), LANES);
    best_groups(scores.data(), router.groups, probes, groups.data() + first * probes);
  }
  // the vectors that visit each group, by a counting sort
  std::vector<int64_t> begin(router.groups + 1, 0);
  for (int64_t i = 0; i < count * probes; ++i) ++begin[groups[i] + 1];
  for (int64_t g = 0; g < router.groups; ++g) begin[g + 1] += begin[g];
  std::vector<int64_t> visitors(count * probes), place(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count * probes; ++i) visitors[place[groups[i]]++] = i / probes;

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
      best_of_block(tile.data(), router.members + start * dimension, router.member_norms + start,
                    members, dimension, static_cast<int32_t>(start), best_score, best_number);
      for (int lane = 0; lane < filled; ++lane) {
        best[visiting[lane]] = best_score[lane];
        nearest[visiting[lane]] = best_number[lane];
      }
    }
  }
}

Array<int32_t> nearest(Array<float> vectors, Array<float> leaders, Array<float> leader_norms,
                       Array<float> members, Array<float> member_norms, Array<int64_t> bounds,
                       int probes, int threads) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  if (probes < 1 || probes > 32) throw std::invalid_argument("probes must be 1 to 32");
  Array<int32_t> result(count);
  const Router router{leaders.data(), leader_norms.data(), members.data(), member_norms.data(),
                      bounds.data(),  leaders.shape(0),    dimension,      probes};
  const float* x = vectors.data();
  int32_t* out = result.mutable_data();
  const int64_t chunk = std::clamp<int64_t>(count / (4 * threads), 256, 8192);
  py::gil_scoped_release release;
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    const int64_t first = block * chunk;
    nearest_in_chunk(router, x + first * dimension, std::min(chunk, count - first), out + first);
  });
  return result;
}

// sums[code] += vector, counts[code] += 1
void accumulate(Array<float> vectors, Array<int32_t> codes, Array<float> sums,
                Array<int64_t> counts) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  float* total = sums.mutable_data();
  int64_t* number = counts.mutable_data();
  py::gil_scoped_release release;
  for (int64_t i = 0; i < count; ++i) {
    float* row = total + code[i] * dimension;
    for (int64_t d = 0; d < dimension; ++d) row[d] += x[i * dimension + d];
    ++number[code[i]];
  }
}

}  // namespace
