// Residuals to bits and back, and the inverted lists.
#pragma once

#include "stages.h"
#include "vectors.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace {

// A residual's D codes of `bits` bits stand in ceil(D / (8 / bits)) bytes, in planes: code p of byte
// j belongs to dimension p * bytes + j. Unpacking a plane is a shift and a mask of whole registers.

VECTORISED void bucket_numbers(const float* x, const float* centroid, const float* inverse_scale,
                               int64_t dimension, const float* cutoffs, int64_t cuts,
                               uint8_t* numbers) {
  float residual[1024];
  for (int64_t d = 0; d < dimension; ++d) residual[d] = (x[d] - centroid[d]) * inverse_scale[d];
  for (int64_t d = 0; d < dimension; ++d) numbers[d] = 0;
  for (int64_t cut = 0; cut < cuts; ++cut)
    for (int64_t d = 0; d < dimension; ++d) numbers[d] += residual[d] > cutoffs[cut];
}

Array<uint8_t> pack(Array<float> vectors, Array<int32_t> codes, Array<float> centroids,
                    Array<float> inverse_scale, Array<float> cutoffs, int bits, int threads) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1), cuts = cutoffs.shape(0);
  if (dimension > 1024) throw std::invalid_argument("at most 1024 dimensions");
  const int64_t planes = 8 / bits, bytes = (dimension + planes - 1) / planes;
  Array<uint8_t> result({count, bytes});
  const float *x = vectors.data(), *c = centroids.data();
  const int32_t* code = codes.data();
  uint8_t* out = result.mutable_data();
  const float *scale = inverse_scale.data(), *cut = cutoffs.data();
  py::gil_scoped_release release;
  constexpr int64_t chunk = 1024;
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    uint8_t numbers[1024 + 8] = {};
    for (int64_t i = block * chunk; i < std::min((block + 1) * chunk, count); ++i) {
      bucket_numbers(x + i * dimension, c + code[i] * dimension, scale, dimension, cut, cuts, numbers);
      uint8_t* row = out + i * bytes;
      std::fill(row, row + bytes, 0);
      for (int64_t p = 0; p < planes; ++p)
        for (int64_t j = 0; j < bytes && p * bytes + j < dimension; ++j)
          row[j] |= static_cast<uint8_t>(numbers[p * bytes + j] << (p * bits));
    }
  });
  return result;
}

template <typename Code>
Array<float> unpack(Array<Code> codes, Array<uint8_t> residuals, Array<float> centroids,
                    Array<float> scale, Array<float> weights, int bits) {
  const int64_t count = codes.shape(0), dimension = centroids.shape(1), last = centroids.shape(0) - 1;
  const int64_t bytes = residuals.shape(1), mask = (1 << bits) - 1;
  Array<float> result({count, dimension});
  const Code* code = codes.data();
  const uint8_t* packed = residuals.data();
  const float *c = centroids.data(), *s = scale.data(), *w = weights.data();
  float* out = result.mutable_data();
  py::gil_scoped_release release;
  for (int64_t i = 0; i < count; ++i) {
    const float* centroid = c + std::min<int64_t>(code[i], last) * dimension;
    for (int64_t d = 0; d < dimension; ++d) {
      const int number = (packed[i * bytes + d % bytes] >> (d / bytes * bits)) & mask;
      out[i * dimension + d] = centroid[d] + s[d] * w[number];
    }
  }
  return result;
}

// For each centroid the passages that have a vector there, rising, each once.
template <typename Code>
py::tuple invert(Array<Code> codes, Array<int64_t> offsets, int64_t centroids) {
  const int64_t passages = offsets.shape(0) - 1;
  const Code* code = codes.data();
  const int64_t* offset = offsets.data();
  Array<int64_t> bounds(centroids + 1);
  int64_t* bound = bounds.mutable_data();
  std::fill(bound, bound + centroids + 1, 0);
  const auto code_of = [&](int64_t t) { return std::min<int64_t>(code[t], centroids - 1); };
  std::vector<int64_t> seen(centroids, -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offset[p]; t < offset[p + 1]; ++t)
      if (const int64_t c = code_of(t); seen[c] != p) {
        seen[c] = p;
        ++bound[c + 1];
      }
  for (int64_t c = 0; c < centroids; ++c) bound[c + 1] += bound[c];
  Array<uint32_t> lists(bound[centroids]);
  uint32_t* list = lists.mutable_data();
  std::vector<int64_t> place(bound, bound + centroids);
  std::fill(seen.begin(), seen.end(), -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offset[p]; t < offset[p + 1]; ++t)
      if (const int64_t c = code_of(t); seen[c] != p) {
        seen[c] = p;
        list[place[c]++] = static_cast<uint32_t>(p);
      }
  return py::make_tuple(bounds, lists);
}

}  // namespace
