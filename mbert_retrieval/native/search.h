// Search: a query through all its stages.
#pragma once

#include "nearest.h"
#include "scoring.h"
#include "stages.h"

#include <atomic>
#include <cmath>
#include <vector>

namespace {

struct Settings {
  int64_t k, probes, candidates;
  int threads;
  bool vnni;  // score residuals with AVX-512 VNNI
};

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
void keep_best(std::vector<Scored>& hits, size_t count) {
  if (hits.size() <= count) return;
  std::nth_element(hits.begin(), hits.begin() + count, hits.end(), [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.passage < b.passage;
  });
  hits.resize(count);
}

// Answer one query. allowed: (passages), nonzero for passages to search; there are `allowed_count`.
template <typename Code>
std::vector<Scored> search_one(const Index<Code>& index, Query query, const uint8_t* allowed,
                              int64_t allowed_count, const Settings& settings, Workspace& workspace,
                              Timings& timings) {
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
  query.table = table.data();
  float inverse_step = 0;
  std::vector<Scored> hits;
  std::vector<std::vector<Scored>> by_rank(threads);
  std::vector<int64_t> centroid_vectors(threads), residual_vectors(threads), probed(threads);
  const auto job = std::make_shared<Job>();

  job->add(centroid_blocks, [&](int64_t block, int rank) {  // scores of centroids, and each lane's range
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    constexpr int64_t cached = 64;  // centroids that stay in the cache for all lanes
    for (int64_t c = begin; c < end; c += cached)
      for (int64_t lane = 0; lane < lanes; lane += LANES)
        scores_of_block(query.tiles + lane * index.dimension, index.centroid + c * index.dimension,
                        nullptr, std::min(cached, end - c), index.dimension,
                        query.table + c * lanes + lane, lanes);
    widen_range(query.table, begin, end, lanes, &low[rank * lanes], &high[rank * lanes]);
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
    to_levels(query.table, begin, end, lanes, high.data(), inverse_step, levels.data());
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
  job->add(score_all ? 0 : centroid_blocks, [&](int64_t block, int rank) {  // the passages in the lists of the best centroids
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    for (int64_t c = begin; c < end; ++c) {
      if (!any_at_least(&levels[c * lanes], thresholds.data(), lanes)) continue;
      ++probed[rank];
      for (int64_t i = index.list_bounds[c]; i < index.list_bounds[c + 1]; ++i)
        if (index.lists[i] < passages)
          std::atomic_ref<uint8_t>(reached[index.lists[i]]).store(1, std::memory_order_relaxed);
    }
  });
  job->add(score_all ? 0 : passage_blocks, [&](int64_t block, int rank) {  // their scores by centroids alone
    const int64_t begin = block * passage_block, end = std::min(begin + passage_block, passages);
    for (int64_t p = begin; p < end; ++p) {
      if (!reached[p] || !allowed[p]) continue;
      centroid_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
      const uint32_t sum = centroid_sim(index, levels.data(), lanes, static_cast<uint32_t>(p));
      by_rank[rank].push_back({static_cast<float>(sum), static_cast<uint32_t>(p)});
    }
  });
  job->add(1, [&](int64_t, int) {  // the best of them, in the order of the files
    for (const auto& own : by_rank) hits.insert(hits.end(), own.begin(), own.end());
    // if the lists lead to too few passages, add all others that are allowed
    const bool enough = static_cast<int64_t>(hits.size()) >= std::min(settings.k, allowed_count);
    for (int64_t p = 0; p < passages && !(enough && !score_all); ++p)
      if (allowed[p] && (score_all || !reached[p]))
        hits.push_back({score_all ? 0.0f
                                   : static_cast<float>(centroid_sim(index, levels.data(), lanes,
                                                                     static_cast<uint32_t>(p))),
                         static_cast<uint32_t>(p)});
    timings.reached = hits.size();
    keep_best(hits, settings.candidates);
    std::sort(hits.begin(), hits.end(),
              [](const Scored& a, const Scored& b) { return a.passage < b.passage; });
    job->stages.back().blocks = (hits.size() + candidate_block - 1) / candidate_block;
  });
  job->add(0, [&](int64_t block, int rank) {
    thread_local std::vector<uint8_t> scratch;
    thread_local std::vector<float> best;
    scratch.resize(8 * (index.padded + UNPACKED_SLACK));
    best.resize(lanes);
    const size_t begin = block * candidate_block, end = std::min(begin + candidate_block, hits.size());
    for (size_t i = begin; i < end; ++i) {
      const uint32_t p = hits[i].passage;
      residual_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
      if (i + 1 < end) {
        const uint8_t* ahead = index.residuals + index.offsets[hits[i + 1].passage] * index.bytes;
        for (int64_t line = 0; line < 16 * index.bytes; line += 64) __builtin_prefetch(ahead + line);
      }
      hits[i].score = max_sim(index, query, p, settings.vnni, scratch.data(), best.data());
    }
  });

  double before = now();
  Pool::run(job, threads);
  constexpr int names[] = {0, 1, 1, 2, 2, 3, 4, 5};  // stages of the job -> stages that are reported
  for (size_t i = 0; i < job->stages.size(); ++i) {
    if (job->stages[i].blocks == 0) continue;
    timings.stages[names[i]] += job->stages[i].finished - before;
    before = job->stages[i].finished;
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

// A query in the layout of the kernels: unchanged, and multiplied by the scale of the residuals and
// rounded to bytes.
struct PreparedQuery {
  std::vector<int8_t> vectors;
  std::vector<float> tiles, factors, shifts;

  PreparedQuery(const float* query, int64_t count, int64_t lanes, int64_t dimension, int64_t padded,
               const float* scale, float bucket_step)
      : vectors(lanes * padded), tiles(lanes * dimension), factors(lanes), shifts(lanes) {
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
      int8_t* block = vectors.data() + lane / LANES * LANES * padded;
      for (int64_t d = 0; d < dimension; ++d) {
        const int rounded = static_cast<int>(std::lround(scaled[d] * 127 / most));
        block[(d / 4 * LANES + lane % LANES) * 4 + d % 4] = static_cast<int8_t>(rounded);
        sum += rounded;
      }
      factors[lane] = bucket_step * most / 127;
      shifts[lane] = -128.0f * factors[lane] * sum;
    }
  }
};

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
    const int64_t vectors = offsets[i + 1] - offsets[i], lanes = (vectors + LANES - 1) / LANES * LANES;
    const PreparedQuery prepared(queries + offsets[i] * index.dimension, vectors, lanes,
                                 index.dimension, index.padded, scale, bucket_step);
    const Query query{prepared.tiles.data(),   nullptr, prepared.vectors.data(),
                      prepared.factors.data(), prepared.shifts.data(), vectors, lanes};
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

}  // namespace
