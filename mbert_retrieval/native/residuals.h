// Pack residuals into bits, unpack them, and make the inverted lists.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace mbert {

// The D bucket numbers of a residual, of `bits` bits each, are stored in ceil(D / (8 / bits)) bytes,
// in planes: number p of byte j belongs to dimension p * bytes + j. So a plane is unpacked by shifting
// and masking entire registers.
struct Codec {
  const float* centroids;  // (K, D)
  const float* scale;      // (D), or its inverse for packing
  const float* values;     // (2^bits) bucket values; (2^bits - 1) cutoffs for packing
  int64_t count, dimension;
  int bits;

  int64_t planes() const { return 8 / bits; }
  int64_t bytes() const { return (dimension + planes() - 1) / planes(); }
};

// Write (count, bytes) residuals of `count` vectors.
inline void pack_residuals(const Codec& codec, const float* vectors, const int32_t* codes, int64_t count,
                           int threads, uint8_t* residuals) {
  const int64_t dimension = codec.dimension, cuts = (1 << codec.bits) - 1;
  const int64_t planes = codec.planes(), bytes = codec.bytes();
  constexpr int64_t chunk = 1024;
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    uint8_t numbers[1024 + 8] = {};
    for (int64_t i = block * chunk; i < std::min((block + 1) * chunk, count); ++i) {
      kernels().bucket_numbers(vectors + i * dimension, codec.centroids + codes[i] * dimension,
                               codec.scale, dimension, codec.values, cuts, numbers);
      uint8_t* row = residuals + i * bytes;
      std::fill(row, row + bytes, 0);
      for (int64_t p = 0; p < planes; ++p)
        for (int64_t j = 0; j < bytes && p * bytes + j < dimension; ++j)
          row[j] |= static_cast<uint8_t>(numbers[p * bytes + j] << (p * codec.bits));
    }
  });
}

// Write (count, D) vectors.
template <typename Code>
void unpack_residuals(const Codec& codec, const Code* codes, const uint8_t* residuals, int64_t count,
                      float* vectors) {
  const int64_t dimension = codec.dimension, last = codec.count - 1;
  const int64_t bytes = codec.bytes(), mask = (1 << codec.bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const float* centroid = codec.centroids + std::min<int64_t>(codes[i], last) * dimension;
    for (int64_t d = 0; d < dimension; ++d) {
      const int number = (residuals[i * bytes + d % bytes] >> (d / bytes * codec.bits)) & mask;
      vectors[i * dimension + d] = centroid[d] + codec.scale[d] * codec.values[number];
    }
  }
}

// Inverted lists: for each centroid the passages with a vector there, increasing, each once.
// bounds: (centroids + 1) where each list begins. Returns the lists, one after the other.
template <typename Code>
std::vector<uint32_t> invert(const Code* codes, const int64_t* offsets, int64_t passages,
                             int64_t centroids, int64_t* bounds) {
  std::fill(bounds, bounds + centroids + 1, 0);
  const auto code_of = [&](int64_t t) { return std::min<int64_t>(codes[t], centroids - 1); };
  std::vector<int64_t> seen(centroids, -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offsets[p]; t < offsets[p + 1]; ++t)
      if (const int64_t c = code_of(t); seen[c] != p) {
        seen[c] = p;
        ++bounds[c + 1];
      }
  for (int64_t c = 0; c < centroids; ++c) bounds[c + 1] += bounds[c];
  std::vector<uint32_t> lists(bounds[centroids]);
  std::vector<int64_t> next(bounds, bounds + centroids);
  std::fill(seen.begin(), seen.end(), -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offsets[p]; t < offsets[p + 1]; ++t)
      if (const int64_t c = code_of(t); seen[c] != p) {
        seen[c] = p;
        lists[next[c]++] = static_cast<uint32_t>(p);
      }
  return lists;
}

}  // namespace mbert
