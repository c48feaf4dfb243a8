// Search: a query through all its stages.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "products.h"

namespace mbert {

template <typename Code>
struct Index {
  const int64_t* offsets;  // (passages + 1)
  const Code* codes;       // (vectors)
  const uint8_t* residuals;
  const int64_t* list_bounds;  // (centroids + 1)
  const uint32_t* lists;
  const float* centroid;  // (centroids, dimension)
  const int8_t* buckets;  // (max(16, 2^bits)) values of residuals, in steps
  int64_t passages, centroids, dimension;
  int64_t padded;  // dimension of unpacked residuals, a multiple of 4
  int64_t bytes;   // per residual
  int bits;

  PassageVectors passage(int64_t p) const {
    return {codes + offsets[p],
            residuals + offsets[p] * bytes,
            offsets[p + 1] - offsets[p],
            bytes,
            centroids - 1,
            bits,
            buckets};
  }
};

struct Scored {
  float score;
  uint32_t passage;
};

// A query in the layouts of the kernels: unchanged, and multiplied by the scale of the residuals and
// rounded to int8. Query vectors fill `lanes`, a multiple of 16.
struct PreparedQuery {
  int64_t count, lanes;
  std::vector<float> tiles;      // (lanes / 16, dimension, 16)
  std::vector<uint8_t> vectors;  // see Int8Query
  std::vector<float> factors;
  float shift = 0;  // sum over the query vectors of what the residuals' offset adds

  PreparedQuery(const float* query, int64_t count, int64_t dimension, int64_t padded, const float* scale,
                float bucket_step)
      : count(count),
        lanes((count + LANES - 1) / LANES * LANES),
        tiles(lanes * dimension),
        vectors(lanes * padded * kernels().operand_bytes),
        factors(lanes) {
    std::vector<float> scaled(dimension);
    for (int64_t lane = 0; lane < count; ++lane) {
      float most = 1e-20f;
      float* tile = tiles.data() + lane / LANES * LANES * dimension + lane % LANES;
      for (int64_t d = 0; d < dimension; ++d) {
        tile[d * LANES] = query[lane * dimension + d];
        scaled[d] = query[lane * dimension + d] * scale[d];
        most = std::max(most, std::abs(scaled[d]));
      }
      int64_t sum = 0;
      for (int64_t d = 0; d < dimension; ++d) {
        const auto rounded = static_cast<int8_t>(std::lround(scaled[d] * 127 / most));
        put_number(vectors.data(), lane, d, padded, rounded);
        sum += rounded;
      }
      factors[lane] = bucket_step * most / 127;
      shift -= static_cast<float>(kernels().activation_offset) * factors[lane] * static_cast<float>(sum);
    }
  }
};

struct Settings {
  int64_t k, probes, candidates;
  int threads;
};

inline auto max_sim_kernel(uint16_t) { return kernels().max_sim16; }
inline auto max_sim_kernel(uint32_t) { return kernels().max_sim32; }
inline auto level_sum_kernel(uint16_t) { return kernels().level_sum16; }
inline auto level_sum_kernel(uint32_t) { return kernels().level_sum32; }

template <typename Code>
uint32_t centroid_sim(const Index<Code>& index, const uint8_t* levels, int64_t width, int64_t p) {
  return level_sum_kernel(Code{})(index.codes + index.offsets[p], index.offsets[p + 1] - index.offsets[p],
                                  index.centroids - 1, levels, width);
}

// Memory for one query. Each thread reuses it, since fresh memory would have to be mapped again.
struct Workspace {
  std::vector<float> table, low, high;
  std::vector<uint8_t> levels, thresholds, reached;
  std::vector<uint32_t> histograms;
};

struct Timings {
  double stages[6] = {};  // table, levels, probe, centroid scores, selection, residual scores: seconds
  int64_t probed = 0, reached = 0, scored = 0, centroid_vectors = 0, residual_vectors = 0;
};

// Keep the `count` best; of equal scores those of the lower passages.
inline void keep_best(std::vector<Scored>& hits, size_t count) {
  if (hits.size() <= count) return;
  std::nth_element(hits.begin(), hits.begin() + count, hits.end(), [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.passage < b.passage;
  });
  hits.resize(count);
}

// Answer one query. allowed: (passages), nonzero for passages to search; there are `allowed_count`.
template <typename Code>
std::vector<Scored> search_one(const Index<Code>& index, const PreparedQuery& query,
                               const uint8_t* allowed, int64_t allowed_count, const Settings& settings,
                               Workspace& workspace, Timings& timings) {
  const int threads = settings.threads;
  const int64_t lanes = query.lanes, centroids = index.centroids, passages = index.passages;
  const bool score_all = allowed_count <= settings.candidates;
  constexpr int64_t centroid_block = 256, passage_block = 256, candidate_block = 8;
  const int64_t centroid_blocks = (centroids + centroid_block - 1) / centroid_block;
  const int64_t passage_blocks = (passages + passage_block - 1) / passage_block;

  auto& [table, low, high, levels, thresholds, reached, histograms] = workspace;
  table.resize(centroids * lanes);
  levels.resize(centroids * lanes);
  low.assign(threads * lanes, 1e30f);
  high.assign(threads * lanes, -1e30f);
  thresholds.assign(lanes, 255);
  reached.assign(passages, 0);
  histograms.assign(threads * lanes * 256, 0);
  float inverse_step = 0;
  std::vector<Scored> hits;
  std::vector<std::vector<Scored>> by_rank(threads);
  std::vector<int64_t> centroid_vectors(threads), residual_vectors(threads), probed(threads);
  const Int8Query vectors{query.vectors.data(), table.data(), query.factors.data(), lanes, index.padded};
  const auto job = std::make_shared<Job>();

  job->add(centroid_blocks, [&](int64_t block, int rank) {  // scores of centroids, and each lane's range
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    constexpr int64_t cached = 64;  // centroids that stay in the cache for all lanes
    for (int64_t c = begin; c < end; c += cached)
      for (int64_t lane = 0; lane < lanes; lane += LANES)
        kernels().scores_of_block(
            query.tiles.data() + lane * index.dimension, index.centroid + c * index.dimension, nullptr,
            std::min(cached, end - c), index.dimension, table.data() + c * lanes + lane, lanes);
    kernels().widen_range(table.data(), begin, end, lanes, &low[rank * lanes], &high[rank * lanes]);
  });
  job->add(score_all ? 0 : 1, [&](int64_t, int) {
    float range = 1e-20f;
    for (int64_t lane = 0; lane < query.count; ++lane) {
      for (int r = 1; r < threads; ++r) {
        low[lane] = std::min(low[lane], low[r * lanes + lane]);
        high[lane] = std::max(high[lane], high[r * lanes + lane]);
      }
      range = std::max(range, high[lane] - low[lane]);
    }
    inverse_step = 255.0f / range;
  });
  job->add(score_all ? 0 : centroid_blocks, [&](int64_t block, int rank) {  // the levels
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    kernels().to_levels(table.data(), begin, end, lanes, high.data(), inverse_step, levels.data());
    uint32_t* histogram = &histograms[rank * lanes * 256];
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t lane = 0; lane < query.count; ++lane)
        ++histogram[lane * 256 + levels[c * lanes + lane]];
      // lanes that only fill a register do not count
      std::fill(&levels[c * lanes + query.count], &levels[c * lanes] + lanes, 0);
    }
  });
  job->add(score_all ? 0 : 1, [&](int64_t, int) {
    for (int64_t lane = 0; lane < query.count; ++lane) {
      int level = 255;
      for (int64_t above = 0; level > 0; --level) {
        for (int r = 0; r < threads; ++r) above += histograms[(r * lanes + lane) * 256 + level];
        if (above >= settings.probes) break;
      }
      thresholds[lane] = static_cast<uint8_t>(level);
    }
  });
  job->add(score_all ? 0 : centroid_blocks,
           [&](int64_t block, int rank) {  // the passages in the lists of the best centroids
             const int64_t begin = block * centroid_block,
                           end = std::min(begin + centroid_block, centroids);
             for (int64_t c = begin; c < end; ++c) {
               if (!kernels().any_at_least(&levels[c * lanes], thresholds.data(), lanes)) continue;
               ++probed[rank];
               for (int64_t i = index.list_bounds[c]; i < index.list_bounds[c + 1]; ++i)
                 if (index.lists[i] < passages)
                   __atomic_store_n(&reached[index.lists[i]], 1, __ATOMIC_RELAXED);
             }
           });
  job->add(score_all ? 0 : passage_blocks,
           [&](int64_t block, int rank) {  // their scores by centroids alone
             const int64_t begin = block * passage_block, end = std::min(begin + passage_block, passages);
             for (int64_t p = begin; p < end; ++p) {
               if (!reached[p] || !allowed[p]) continue;
               centroid_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
               const uint32_t sum = centroid_sim(index, levels.data(), lanes, p);
               by_rank[rank].push_back({static_cast<float>(sum), static_cast<uint32_t>(p)});
             }
           });
  job->add(1, [&](int64_t, int) {  // the best of them, in the order of the files
    for (const auto& own : by_rank) hits.insert(hits.end(), own.begin(), own.end());
    // if the lists lead to too few passages, add all others that are allowed
    const bool enough = static_cast<int64_t>(hits.size()) >= std::min(settings.k, allowed_count);
    for (int64_t p = 0; p < passages && !(enough && !score_all); ++p)
      if (allowed[p] && (score_all || !reached[p]))
        hits.push_back(
            {score_all ? 0.0f : static_cast<float>(centroid_sim(index, levels.data(), lanes, p)),
             static_cast<uint32_t>(p)});
    timings.reached = hits.size();
    keep_best(hits, settings.candidates);
    std::sort(hits.begin(), hits.end(),
              [](const Scored& a, const Scored& b) { return a.passage < b.passage; });
    job->set_blocks(job->size() - 1, (hits.size() + candidate_block - 1) / candidate_block);
  });
  job->add(0, [&](int64_t block, int rank) {
    thread_local std::vector<uint8_t> scratch;
    thread_local std::vector<float> best;
    scratch.resize(MOST_ROWS * (index.padded * kernels().operand_bytes + UNPACKED_SLACK));
    best.resize(lanes);
    const size_t begin = block * candidate_block, end = std::min(begin + candidate_block, hits.size());
    for (size_t i = begin; i < end; ++i) {
      const uint32_t p = hits[i].passage;
      residual_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
      if (i + 1 < end) {
        const uint8_t* ahead = index.residuals + index.offsets[hits[i + 1].passage] * index.bytes;
        for (int64_t line = 0; line < 16 * index.bytes; line += 64) __builtin_prefetch(ahead + line);
      }
      max_sim_kernel(Code{})(index.passage(p), vectors, scratch.data(), best.data());
      hits[i].score = query.shift;
      for (int64_t lane = 0; lane < query.count; ++lane) hits[i].score += best[lane];
    }
  });

  double before = now();
  Job::run(job, threads);
  constexpr int names[] = {0, 1, 1, 2, 2, 3, 4, 5};  // stages of the job -> stages that are reported
  for (size_t i = 0; i < job->size(); ++i) {
    if (job->finished(i) == 0) continue;
    timings.stages[names[i]] += job->finished(i) - before;
    before = job->finished(i);
  }
  timings.scored = hits.size();
  for (int r = 0; r < threads; ++r) {
    timings.probed += probed[r];
    timings.centroid_vectors += centroid_vectors[r];
    timings.residual_vectors += residual_vectors[r];
  }
  keep_best(hits, settings.k);
  return hits;
}

// Answer a batch of queries: (count + 1) offsets into (N, dimension) vectors.
template <typename Code>
std::vector<std::vector<Scored>> search_batch(const Index<Code>& index, const float* scale,
                                              float bucket_step, const float* queries,
                                              const int64_t* offsets, int64_t count,
                                              const uint8_t* allowed, const Settings& settings,
                                              std::vector<Timings>& timings) {
  std::vector<std::vector<Scored>> results(count);
  const int64_t allowed_count =
      std::count_if(allowed, allowed + index.passages, [](uint8_t a) { return a; });
  const auto answer = [&](int64_t i, int threads) {
    thread_local Workspace workspace;
    const PreparedQuery query(queries + offsets[i] * index.dimension, offsets[i + 1] - offsets[i],
                              index.dimension, index.padded, scale, bucket_step);
    Settings own = settings;
    own.threads = threads;
    results[i] = search_one(index, query, allowed, allowed_count, own, workspace, timings[i]);
  };
  if (count >= settings.threads) {
    in_threads(settings.threads, count, [&](int64_t i, int) { answer(i, 1); });
  } else {
    for (int64_t i = 0; i < count; ++i) answer(i, settings.threads);
  }
  return results;
}

}  // namespace mbert
