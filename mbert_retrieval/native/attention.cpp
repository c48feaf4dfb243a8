// Softmax attention of a packed batch on the processor, and its gradient: rotation, scores, softmax
// and weighted sum of one sequence and head at a time, whose keys and values stay in the cache. The
// backward pass stores nothing of the forward pass, but computes the scores of a few queries again.
//
// Plain C++ that the compiler vectorises for several instruction sets, one of which is chosen at run
// time. Arithmetic is in float32 for any type of input.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

constexpr int QUERIES = 16;  // queries whose scores are computed together
constexpr int TILE = 2 * LANES;  // keys per matrix product
constexpr float LOWEST = -std::numeric_limits<float>::infinity();

struct BFloat16 {
  uint16_t bits;
};

INLINED float to_float(float x) { return x; }
INLINED float to_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
INLINED void from_float(float x, float* out) { *out = x; }
INLINED void from_float(float x, BFloat16* out) {  // round to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  out->bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// One row of queries or keys, rotated by halves (Su et al. 2021) and multiplied by `scale`.
template <typename Number>
INLINED void rotate_row(const Number* x, const float* cosine, const float* sine, int64_t half,
                        float scale, float* out) {
  for (int64_t d = 0; d < half; ++d) {
    const float first = to_float(x[d]), second = to_float(x[half + d]);
    out[d] = scale * (first * cosine[d] - second * sine[d]);
    out[half + d] = scale * (second * cosine[d] + first * sine[d]);
  }
}

// Memory of one thread.
struct Scratch {
  std::vector<float> queries;  // (QUERIES, D) rotated and scaled
  std::vector<float> keys;     // (tiles, D, TILE) rotated
  std::vector<float> values;   // (L, D)
  std::vector<float> scores;   // (QUERIES, tiles * TILE)
  // for the backward pass only
  std::vector<float> key_rows;      // (L, D) rotated
  std::vector<float> value_tiles;   // (tiles, D, TILE)
  std::vector<float> outputs;       // (QUERIES, D) the gradient of the output
  std::vector<float> score_gradients;  // (QUERIES, tiles * TILE) the gradient of the scores
  std::vector<float> key_gradients;    // (L, D)
  std::vector<float> value_gradients;  // (L, D)
};

template <typename Number>
struct Batch {
  const Number* qkv;      // (N, 3, heads, D)
  const float* cosine;    // (N, D / 2)
  const float* sine;
  const int64_t* offsets; // (B + 1)
  Number* out;            // (N, heads, D); in the backward pass the gradient of qkv, (N, 3, heads, D)
  const Number* gradients;   // (N, heads, D) the gradient of the output, in the backward pass
  int64_t heads, dimension, window;

  int64_t position(int64_t token, int which, int64_t head) const {
    return ((token * 3 + which) * heads + head) * dimension;
  }
  const Number* at(int64_t token, int which, int64_t head) const {
    return qkv + position(token, which, head);
  }
};

// The queries first..last - 1, and the keys from..to - 1 that any of them attends to.
struct Block {
  int64_t first, last, from, to;

  Block(int64_t at, int64_t length, int64_t reach)
      : first(at),
        last(std::min(at + QUERIES, length)),
        from(std::max<int64_t>(0, first - reach)),
        to(std::min(length, last + reach)) {}
  int64_t first_tile() const { return from / TILE; }
  int64_t last_tile() const { return (to + TILE - 1) / TILE; }
};

INLINED void write_column(const float* row, int64_t j, int64_t dimension, float* tiles) {
  float* column = tiles + j / TILE * dimension * TILE + j % TILE;
  for (int64_t d = 0; d < dimension; ++d) column[d * TILE] = row[d];
}

// scores[i][tile] of ROWS queries against all keys of the tiles first..last - 1
template <int ROWS>
INLINED void score_tiles(const float* queries, const float* keys, int64_t dimension, int64_t first,
                         int64_t last, int64_t stride, float* scores) {
  for (int64_t tile = first; tile < last; ++tile) {
    const float* k = keys + tile * dimension * TILE;
    Floats sum[ROWS][2] = {};
    for (int64_t d = 0; d < dimension; ++d) {
      const Floats low = *reinterpret_cast<const Floats*>(k + d * TILE);
      const Floats high = *reinterpret_cast<const Floats*>(k + d * TILE + LANES);
      for (int i = 0; i < ROWS; ++i) {
        sum[i][0] += low * queries[i * dimension + d];
        sum[i][1] += high * queries[i * dimension + d];
      }
    }
    for (int i = 0; i < ROWS; ++i) {
      *reinterpret_cast<Floats*>(scores + i * stride + tile * TILE) = sum[i][0];
      *reinterpret_cast<Floats*>(scores + i * stride + tile * TILE + LANES) = sum[i][1];
    }
  }
}

// Replace a row's scores first..last - 1 (entire registers) by their exponentials for the keys
// from..to - 1 that the query attends to, and by zero for the others. Returns 1 / their sum.
INLINED float softmax_row(float* scores, int64_t first, int64_t last, int64_t from, int64_t to) {
  std::fill(scores + first, scores + from, LOWEST);
  std::fill(scores + to, scores + last, LOWEST);
  Floats most = Floats{} + LOWEST;
  for (int64_t j = first; j < last; j += LANES) {
    const Floats x = *reinterpret_cast<Floats*>(scores + j);
    most = x > most ? x : most;
  }
  float highest = LOWEST;
  for (int lane = 0; lane < LANES; ++lane) highest = std::max(highest, most[lane]);
  Floats total{};
  for (int64_t j = first; j < last; j += LANES) {
    Floats& x = *reinterpret_cast<Floats*>(scores + j);
    x -= highest;
    exponentiate(x);
    total += x;
  }
  std::fill(scores + first, scores + from, 0.0f);
  std::fill(scores + to, scores + last, 0.0f);
  float sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += total[lane];
  return 1 / sum;
}

// out[i] = sum over keys from..to - 1 of scores[i][key] * values[key], for ROWS queries
template <int ROWS>
INLINED void weighted_sums(const float* scores, int64_t stride, const float* values, int64_t from,
                           int64_t to, int64_t dimension, float* out) {
  for (int64_t d = 0; d < dimension; d += LANES) {
    Floats sum[ROWS] = {};
    for (int64_t j = from; j < to; ++j) {
      const Floats value = *reinterpret_cast<const Floats*>(values + j * dimension + d);
      for (int i = 0; i < ROWS; ++i) sum[i] += value * scores[i * stride + j];
    }
    for (int i = 0; i < ROWS; ++i) *reinterpret_cast<Floats*>(out + i * dimension + d) = sum[i];
  }
}

// Write rotated keys in tiles, and also in rows for the backward pass (else null).
template <typename Number>
INLINED void lay_keys(const Batch<Number>& batch, int64_t start, int64_t length, int64_t head,
                      std::vector<float>& tiles, float* rows) {
  const int64_t dimension = batch.dimension, half = dimension / 2;
  tiles.assign((length + TILE - 1) / TILE * dimension * TILE, 0.0f);
  float own[256];
  for (int64_t j = 0; j < length; ++j) {
    const int64_t token = start + j;
    float* row = rows ? rows + j * dimension : own;
    rotate_row(batch.at(token, 1, head), batch.cosine + token * half, batch.sine + token * half, half,
               1.0f, row);
    write_column(row, j, dimension, tiles.data());
  }
}

// The block's softmax before normalisation: exponentials in scratch.scores, and the factors that
// normalise them in inverse_sums.
template <typename Number>
INLINED void score_block(const Batch<Number>& batch, const Block& block, int64_t start,
                         int64_t length, int64_t head, int64_t reach, int64_t stride, Scratch& scratch,
                         float* inverse_sums) {
  const int64_t dimension = batch.dimension, half = dimension / 2;
  const float scale = 1 / std::sqrt(static_cast<float>(dimension));
  for (int64_t i = block.first; i < block.last; ++i)
    rotate_row(batch.at(start + i, 0, head), batch.cosine + (start + i) * half,
               batch.sine + (start + i) * half, half, scale,
               scratch.queries.data() + (i - block.first) * dimension);
  for (int i = 0; i < QUERIES && block.first + i < block.last; i += 8)
    score_tiles<8>(scratch.queries.data() + i * dimension, scratch.keys.data(), dimension,
                   block.first_tile(), block.last_tile(), stride, scratch.scores.data() + i * stride);
  for (int64_t i = block.first; i < block.last; ++i)
    inverse_sums[i - block.first] =
        softmax_row(scratch.scores.data() + (i - block.first) * stride, block.first_tile() * TILE,
                    block.last_tile() * TILE, std::max<int64_t>(0, i - reach),
                    std::min(length, i + reach + 1));
}

template <typename Number>
INLINED void attend_head(const Batch<Number>& batch, int64_t sequence, int64_t head, Scratch& scratch) {
  const int64_t start = batch.offsets[sequence], length = batch.offsets[sequence + 1] - start;
  const int64_t dimension = batch.dimension;
  const int64_t stride = (length + TILE - 1) / TILE * TILE;
  scratch.queries.assign(QUERIES * dimension, 0.0f);
  scratch.values.resize(length * dimension);
  scratch.scores.resize(QUERIES * stride);
  lay_keys(batch, start, length, head, scratch.keys, nullptr);
  for (int64_t j = 0; j < length; ++j) {
    const Number* value = batch.at(start + j, 2, head);
    for (int64_t d = 0; d < dimension; ++d) scratch.values[j * dimension + d] = to_float(value[d]);
  }
  const int64_t reach = batch.window < 0 ? length : batch.window;
  float sums[QUERIES * 256], inverse_sums[QUERIES];
  for (int64_t first = 0; first < length; first += QUERIES) {
    const Block block(first, length, reach);
    score_block(batch, block, start, length, head, reach, stride, scratch, inverse_sums);
    for (int i = 0; i < QUERIES && first + i < block.last; i += 8)
      weighted_sums<8>(scratch.scores.data() + i * stride, stride, scratch.values.data(), block.from,
                       block.to, dimension, sums + i * dimension);
    for (int64_t i = first; i < block.last; ++i) {
      Number* out = batch.out + ((start + i) * batch.heads + head) * dimension;
      for (int64_t d = 0; d < dimension; ++d)
        from_float(sums[(i - first) * dimension + d] * inverse_sums[i - first], out + d);
    }
  }
}

// sums[j] += sum over QUERIES rows i of weights[i][j] * rows[i], for the keys from..to - 1
INLINED void scatter_sums(const float* weights, int64_t stride, const float* rows, int64_t from,
                          int64_t to, int64_t dimension, float* sums) {
  constexpr int KEYS = 4, WIDTH = 4;  // registers of a step: KEYS * WIDTH sums, WIDTH of a row
  for (int64_t d = 0; d < dimension; d += WIDTH * LANES) {
    const int width = static_cast<int>(std::min<int64_t>(WIDTH, (dimension - d) / LANES));
    for (int64_t j = from; j < to; j += KEYS) {
      const int keys = static_cast<int>(std::min<int64_t>(KEYS, to - j));
      if (width == WIDTH && keys == KEYS) {
        Floats sum[KEYS][WIDTH];
        for (int a = 0; a < KEYS; ++a)
          for (int b = 0; b < WIDTH; ++b)
            sum[a][b] = *reinterpret_cast<Floats*>(sums + (j + a) * dimension + d + b * LANES);
        for (int i = 0; i < QUERIES; ++i)
          for (int b = 0; b < WIDTH; ++b) {
            const Floats row =
                *reinterpret_cast<const Floats*>(rows + i * dimension + d + b * LANES);
            for (int a = 0; a < KEYS; ++a) sum[a][b] += row * weights[i * stride + j + a];
          }
        for (int a = 0; a < KEYS; ++a)
          for (int b = 0; b < WIDTH; ++b)
            *reinterpret_cast<Floats*>(sums + (j + a) * dimension + d + b * LANES) = sum[a][b];
        continue;
      }
      for (int a = 0; a < keys; ++a)
        for (int b = 0; b < width; ++b) {
          Floats& sum = *reinterpret_cast<Floats*>(sums + (j + a) * dimension + d + b * LANES);
          for (int i = 0; i < QUERIES; ++i)
            sum += *reinterpret_cast<const Floats*>(rows + i * dimension + d + b * LANES) *
                   weights[i * stride + j + a];
        }
    }
  }
}

// Replace a row's exponentials by probabilities p, and the gradients of the probabilities by those of
// the scores: p * (gradient - sum of p * gradient).
INLINED void softmax_gradients(float* scores, float* gradients, float inverse_sum, int64_t first, int64_t last) {
  Floats total{};
  for (int64_t j = first; j < last; j += LANES) {
    Floats& p = *reinterpret_cast<Floats*>(scores + j);
    p *= inverse_sum;
    total += p * *reinterpret_cast<Floats*>(gradients + j);
  }
  float sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += total[lane];
  for (int64_t j = first; j < last; j += LANES) {
    Floats& gradient = *reinterpret_cast<Floats*>(gradients + j);
    gradient = *reinterpret_cast<Floats*>(scores + j) * (gradient - sum);
  }
}

// Rotate a gradient back, and write it.
template <typename Number>
INLINED void unrotate_row(const float* x, const float* cosine, const float* sine, int64_t half,
                          float scale, Number* out) {
  for (int64_t d = 0; d < half; ++d) {
    from_float(scale * (x[d] * cosine[d] + x[half + d] * sine[d]), out + d);
    from_float(scale * (x[half + d] * cosine[d] - x[d] * sine[d]), out + half + d);
  }
}

template <typename Number>
INLINED void attend_head_backward(const Batch<Number>& batch, int64_t sequence, int64_t head, Scratch& scratch) {
  const int64_t start = batch.offsets[sequence], length = batch.offsets[sequence + 1] - start;
  const int64_t dimension = batch.dimension, half = dimension / 2;
  const int64_t stride = (length + TILE - 1) / TILE * TILE;
  const float scale = 1 / std::sqrt(static_cast<float>(dimension));
  scratch.scores.resize(QUERIES * stride);
  scratch.score_gradients.resize(QUERIES * stride);
  scratch.key_rows.resize(length * dimension);
  scratch.key_gradients.assign(length * dimension, 0.0f);
  scratch.value_gradients.assign(length * dimension, 0.0f);
  lay_keys(batch, start, length, head, scratch.keys, scratch.key_rows.data());
  scratch.value_tiles.assign(stride * dimension, 0.0f);
  float row[256];
  for (int64_t j = 0; j < length; ++j) {
    const Number* value = batch.at(start + j, 2, head);
    for (int64_t d = 0; d < dimension; ++d) row[d] = to_float(value[d]);
    write_column(row, j, dimension, scratch.value_tiles.data());
  }
  const int64_t reach = batch.window < 0 ? length : batch.window;
  float sums[QUERIES * 256], inverse_sums[QUERIES];
  for (int64_t first = 0; first < length; first += QUERIES) {
    const Block block(first, length, reach);
    const int64_t begin = block.first_tile() * TILE, end = block.last_tile() * TILE;
    scratch.queries.assign(QUERIES * dimension, 0.0f);  // rows beyond the sequence add nothing
    scratch.outputs.assign(QUERIES * dimension, 0.0f);
    score_block(batch, block, start, length, head, reach, stride, scratch, inverse_sums);
    for (int64_t i = first; i < block.last; ++i) {
      const Number* gradient = batch.gradients + ((start + i) * batch.heads + head) * dimension;
      for (int64_t d = 0; d < dimension; ++d)
        scratch.outputs[(i - first) * dimension + d] = to_float(gradient[d]);
    }
    for (int i = 0; i < QUERIES; i += 8)
      score_tiles<8>(scratch.outputs.data() + i * dimension, scratch.value_tiles.data(), dimension,
                     block.first_tile(), block.last_tile(), stride,
                     scratch.score_gradients.data() + i * stride);
    for (int64_t i = 0; i < QUERIES; ++i) {
      float* scores = scratch.scores.data() + i * stride;
      float* gradients = scratch.score_gradients.data() + i * stride;
      if (first + i < block.last) {
        softmax_gradients(scores, gradients, inverse_sums[i], begin, end);
      } else {
        std::fill(scores + begin, scores + end, 0.0f);
        std::fill(gradients + begin, gradients + end, 0.0f);
      }
    }
    for (int i = 0; i < QUERIES; i += 8)
      weighted_sums<8>(scratch.score_gradients.data() + i * stride, stride, scratch.key_rows.data(),
                       block.from, block.to, dimension, sums + i * dimension);
    scatter_sums(scratch.score_gradients.data(), stride, scratch.queries.data(), block.from, block.to,
                 dimension, scratch.key_gradients.data());
    scatter_sums(scratch.scores.data(), stride, scratch.outputs.data(), block.from, block.to, dimension,
                 scratch.value_gradients.data());
    for (int64_t i = first; i < block.last; ++i)
      unrotate_row(sums + (i - first) * dimension, batch.cosine + (start + i) * half,
                   batch.sine + (start + i) * half, half, scale,
                   batch.out + batch.position(start + i, 0, head));
  }
  for (int64_t j = 0; j < length; ++j) {
    const int64_t token = start + j;
    unrotate_row(scratch.key_gradients.data() + j * dimension, batch.cosine + token * half,
                 batch.sine + token * half, half, 1.0f, batch.out + batch.position(token, 1, head));
    Number* out = batch.out + batch.position(token, 2, head);
    for (int64_t d = 0; d < dimension; ++d)
      from_float(scratch.value_gradients[j * dimension + d], out + d);
  }
}

VECTORISED void attend_floats(const Batch<float>& batch, int64_t sequence, int64_t head, Scratch& scratch) {
  attend_head(batch, sequence, head, scratch);
}

VECTORISED void attend_halves(const Batch<BFloat16>& batch, int64_t sequence, int64_t head,
                              Scratch& scratch) {
  attend_head(batch, sequence, head, scratch);
}

VECTORISED void attend_floats_backward(const Batch<float>& batch, int64_t sequence, int64_t head, Scratch& scratch) {
  attend_head_backward(batch, sequence, head, scratch);
}

VECTORISED void attend_halves_backward(const Batch<BFloat16>& batch, int64_t sequence, int64_t head,
                             Scratch& scratch) {
  attend_head_backward(batch, sequence, head, scratch);
}

template <typename Number, typename Attend>
void attend_all(const Batch<Number>& batch, int64_t sequences, int threads, Attend attend) {
  const int64_t tasks = sequences * batch.heads;
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    Scratch scratch;
    for (int64_t task; (task = next.fetch_add(1)) < tasks;)
      attend(batch, task / batch.heads, task % batch.heads, scratch);
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads && i < tasks; ++i) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
}

template <typename Stored>
using NumberOf = std::conditional_t<std::is_same_v<Stored, float>, float, BFloat16>;

template <typename Stored>
Batch<NumberOf<Stored>> batch_of(const Array<Stored>& qkv, const Array<float>& cosine,
                                 const Array<float>& sine, const Array<int64_t>& offsets,
                                 int64_t window, Array<Stored>& result) {
  const int64_t dimension = qkv.shape(3);
  if (dimension % LANES != 0 || dimension > 256)
    throw std::invalid_argument("the head's dimension must be a multiple of 16, and at most 256");
  return {reinterpret_cast<const NumberOf<Stored>*>(qkv.data()),
          cosine.data(),
          sine.data(),
          offsets.data(),
          reinterpret_cast<NumberOf<Stored>*>(result.mutable_data()),
          nullptr,
          qkv.shape(2),
          dimension,
          window};
}

template <typename Stored>
Array<Stored> attend(Array<Stored> qkv, Array<float> cosine, Array<float> sine,
                     Array<int64_t> offsets, int64_t window, int threads) {
  Array<Stored> result({qkv.shape(0), qkv.shape(2), qkv.shape(3)});
  const auto batch = batch_of(qkv, cosine, sine, offsets, window, result);
  const int64_t sequences = offsets.shape(0) - 1;
  py::gil_scoped_release release;
  if constexpr (std::is_same_v<Stored, float>)
    attend_all(batch, sequences, threads, attend_floats);
  else
    attend_all(batch, sequences, threads, attend_halves);
  return result;
}

template <typename Stored>
Array<Stored> attend_backward(Array<Stored> gradients, Array<Stored> qkv, Array<float> cosine,
                              Array<float> sine, Array<int64_t> offsets, int64_t window,
                              int threads) {
  Array<Stored> result({qkv.shape(0), qkv.shape(1), qkv.shape(2), qkv.shape(3)});
  auto batch = batch_of(qkv, cosine, sine, offsets, window, result);
  batch.gradients = reinterpret_cast<const NumberOf<Stored>*>(gradients.data());
  const int64_t sequences = offsets.shape(0) - 1;
  py::gil_scoped_release release;
  if constexpr (std::is_same_v<Stored, float>)
    attend_all(batch, sequences, threads, attend_floats_backward);
  else
    attend_all(batch, sequences, threads, attend_halves_backward);
  return result;
}

}  // namespace

PYBIND11_MODULE(attention, module) {
  module.doc() = "Attention of a packed batch on the processor; see attention.pyi.";
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  const auto define = [&](auto forward, auto backward) {
    module.def("attend", forward, strict("qkv"), strict("cosine"), strict("sine"),
               strict("offsets"), py::arg("window"), py::arg("threads"));
    module.def("attend_backward", backward, strict("gradients"), strict("qkv"), strict("cosine"),
               strict("sine"), strict("offsets"), py::arg("window"), py::arg("threads"));
  };
  define(&attend<float>, &attend_backward<float>);
  define(&attend<uint16_t>, &attend_backward<uint16_t>);
}
