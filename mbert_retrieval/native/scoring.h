// Scores of passages and centroids for a query.
#pragma once

#include "vectors.h"

#include <algorithm>

namespace {

template <typename Code>
struct Index {
  const int64_t* offsets;  // (passages + 1)
  const Code* codes;       // (vectors)
  const uint8_t* residuals;
  const int64_t* list_bounds;  // (centroids + 1)
  const uint32_t* lists;
  const float* centroid;   // (centroids, dimension)
  const uint8_t* buckets;  // (2^bits) residual weights as unsigned bytes, 128 for zero
  int64_t passages, centroids, dimension;
  int64_t padded;  // dimension of unpacked residuals, a multiple of 4
  int64_t bytes;   // per residual
  int bits;
};

struct Query {
  const float* tiles;      // (lanes / 16, dimension, 16) the query's vectors
  float* table;            // (centroids, lanes) their inner products with the centroids
  const int8_t* vectors;   // (lanes / 16, padded / 4, 16, 4) the same scaled and rounded
  const float* factors;    // (lanes) what a product of integers is multiplied by
  const float* shifts;     // (lanes) correction for the buckets' zero, 128
  int64_t count, lanes;    // query vectors, and that rounded up to a multiple of 16
};

struct Scored {
  float score;
  uint32_t passage;
};

constexpr int UNPACKED_SLACK = 64;

// Unpack a residual to `8 / bits` planes of unsigned bucket values.
VECTORISED void unpack_buckets(const uint8_t* packed, int64_t bytes, int bits, const uint8_t* buckets,
                               uint8_t* out) {
  const int mask = (1 << bits) - 1;
  for (int p = 0; p < 8 / bits; ++p)
    for (int64_t j = 0; j < bytes; ++j) out[p * bytes + j] = buckets[(packed[j] >> (p * bits)) & mask];
}

// best[lane] = max over a passage's vectors of table[code][lane] + factor[lane] * (bucket . query)
template <typename Code>
VECTORISED void max_sim_plain(const Index<Code>& index, const Query& query, int64_t begin, int64_t end,
                              uint8_t* scratch, float* best) {
  const int64_t groups = index.padded / 4, last = index.centroids - 1;
  for (int64_t lane = 0; lane < query.lanes; ++lane) best[lane] = -1e30f;
  for (int64_t t = begin; t < end; ++t) {
    unpack_buckets(index.residuals + t * index.bytes, index.bytes, index.bits, index.buckets, scratch);
    const float* base = query.table + std::min<int64_t>(index.codes[t], last) * query.lanes;
    for (int64_t block = 0; block < query.lanes; block += LANES) {
      int32_t sum[LANES] = {};
      const int8_t* q = query.vectors + block * index.padded;
      for (int64_t g = 0; g < groups; ++g)
        for (int lane = 0; lane < LANES; ++lane)
          for (int i = 0; i < 4; ++i) sum[lane] += scratch[4 * g + i] * q[(g * LANES + lane) * 4 + i];
      for (int lane = 0; lane < LANES; ++lane) {
        const float score = base[block + lane] + query.factors[block + lane] * sum[lane];
        best[block + lane] = std::max(best[block + lane], score);
      }
    }
  }
}

#ifdef X86
VNNI inline void unpack_nibbles(const uint8_t* packed, int64_t bytes, __m512i buckets, uint8_t* out) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int shift = 0; shift < 8; shift += 4)  // a plane's last store overwrites the beginning of the next
    for (int64_t j = 0; j < bytes; j += 64) {
      const __mmask64 mask = bytes - j >= 64 ? ~0ull : (1ull << (bytes - j)) - 1;
      const __m512i byte = _mm512_maskz_loadu_epi8(mask, packed + j);
      const __m512i number = _mm512_and_si512(_mm512_srli_epi16(byte, shift), low);
      _mm512_storeu_si512(out + shift / 4 * bytes + j, _mm512_shuffle_epi8(buckets, number));
    }
}

// ROWS passage vectors by BLOCKS registers of 16 query vectors. At least 8 sums at a time keep both
// multiplication units busy.
template <int ROWS, int BLOCKS, typename Code>
VNNI inline void max_sim_rows(const Index<Code>& index, const Query& query, int64_t first_lane,
                              const uint8_t* unpacked, int64_t width, const int64_t* rows,
                              __m512* best) {
  const int64_t groups = index.padded / 4, last = index.centroids - 1;
  __m512i sum[ROWS][BLOCKS];
  for (auto& row : sum)
    for (auto& block : row) block = _mm512_setzero_si512();
  const int8_t* q = query.vectors + first_lane * index.padded;
  byte_products(unpacked, width, q, groups, sum);
  for (int r = 0; r < ROWS; ++r) {
    const float* base =
        query.table + std::min<int64_t>(index.codes[rows[r]], last) * query.lanes + first_lane;
    for (int b = 0; b < BLOCKS; ++b) {
      const __m512 factor = _mm512_loadu_ps(query.factors + first_lane + b * LANES);
      const __m512 score = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(sum[r][b]),
                                           _mm512_loadu_ps(base + b * LANES));
      best[b] = _mm512_max_ps(best[b], score);
    }
  }
}

template <typename Code>
VNNI void max_sim_vnni(const Index<Code>& index, const Query& query, int64_t begin, int64_t end,
                       uint8_t* scratch, float* best) {
  constexpr int ROWS = 8;
  const int64_t width = index.padded + UNPACKED_SLACK;
  const __m512i buckets = _mm512_broadcast_i32x4(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(index.buckets)));
  for (int64_t lane = 0; lane < query.lanes; ++lane) best[lane] = -1e30f;
  for (int64_t t = begin; t < end; t += ROWS) {
    int64_t rows[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      rows[r] = std::min(t + r, end - 1);  // repeating the last one does not change a maximum
      const uint8_t* packed = index.residuals + rows[r] * index.bytes;
      __builtin_prefetch(packed + 2 * ROWS * index.bytes);
      if (index.bits == 4)
        unpack_nibbles(packed, index.bytes, buckets, scratch + r * width);
      else
        unpack_buckets(packed, index.bytes, index.bits, index.buckets, scratch + r * width);
    }
    int64_t lane = 0;
    for (; lane + 2 * LANES <= query.lanes; lane += 2 * LANES) {
      __m512 top[2] = {_mm512_loadu_ps(best + lane), _mm512_loadu_ps(best + lane + LANES)};
      max_sim_rows<8, 2>(index, query, lane, scratch, width, rows, top);
      _mm512_storeu_ps(best + lane, top[0]);
      _mm512_storeu_ps(best + lane + LANES, top[1]);
    }
    if (lane < query.lanes) {
      __m512 top[1] = {_mm512_loadu_ps(best + lane)};
      max_sim_rows<8, 1>(index, query, lane, scratch, width, rows, top);
      _mm512_storeu_ps(best + lane, top[0]);
    }
  }
}
#endif

template <typename Code>
float max_sim(const Index<Code>& index, const Query& query, uint32_t passage, bool vnni,
              uint8_t* scratch, float* best) {
  const int64_t begin = index.offsets[passage], end = index.offsets[passage + 1];
#ifdef X86
  if (vnni)
    max_sim_vnni(index, query, begin, end, scratch, best);
  else
#endif
    max_sim_plain(index, query, begin, end, scratch, best);
  float score = 0;
  for (int64_t lane = 0; lane < query.count; ++lane) score += best[lane] + query.shifts[lane];
  return score;
}

// Sum, over a query's vectors, of the highest level of any of a passage's centroids.
// levels: (centroids, width), of which the first sizeof(Levels) columns are summed.
template <typename Levels, typename Code>
VECTORISED uint32_t highest_levels(const Code* codes, int64_t count, uint64_t last,
                                   const uint8_t* levels, int64_t width) {
  Levels best{};
  for (int64_t t = 0; t < count; ++t) {
    const uint64_t code = codes[t] < last ? codes[t] : last;
    const Levels row = *reinterpret_cast<const Levels*>(levels + code * width);
    best = row > best ? row : best;
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof(Levels); ++i) sum += best[i];
  return sum;
}

template <typename Code>
uint32_t centroid_sim(const Index<Code>& index, const uint8_t* levels, int64_t width, uint32_t passage) {
  const int64_t begin = index.offsets[passage], count = index.offsets[passage + 1] - begin;
  const Code* codes = index.codes + begin;
  const uint64_t last = index.centroids - 1;
  uint32_t sum = 0;
  int64_t first = 0;
  for (; first + 32 <= width; first += 32)
    sum += highest_levels<Bytes32>(codes, count, last, levels + first, width);
  if (first < width) sum += highest_levels<Bytes16>(codes, count, last, levels + first, width);
  return sum;
}

// Extend low[lane] and high[lane] to the range of table[begin..end - 1][lane].
VECTORISED void widen_range(const float* table, int64_t begin, int64_t end, int64_t lanes, float* low,
                            float* high) {
  for (int64_t block = 0; block < lanes; block += LANES) {
    Floats least = *reinterpret_cast<Floats*>(low + block);
    Floats most = *reinterpret_cast<Floats*>(high + block);
    for (int64_t c = begin; c < end; ++c) {
      const Floats row = *reinterpret_cast<const Floats*>(table + c * lanes + block);
      least = row < least ? row : least;
      most = row > most ? row : most;
    }
    *reinterpret_cast<Floats*>(low + block) = least;
    *reinterpret_cast<Floats*>(high + block) = most;
  }
}

// Write levels[c][lane]: 255 for the lane's highest score, and one less for each step below it.
VECTORISED void to_levels(const float* table, int64_t begin, int64_t end, int64_t lanes,
                          const float* high, float inverse_step, uint8_t* levels) {
  for (int64_t c = begin; c < end; ++c) {
    const float* row = table + c * lanes;
    uint8_t* out = levels + c * lanes;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float level = 255.5f + (row[lane] - high[lane]) * inverse_step;
      out[lane] = static_cast<uint8_t>(static_cast<int32_t>(std::max(level, 0.0f)));
    }
  }
}

VECTORISED bool any_at_least(const uint8_t* levels, const uint8_t* thresholds, int64_t lanes) {
  uint8_t any = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) any |= levels[lane] >= thresholds[lane];
  return any;
}

}  // namespace
