// Softmax attention of a packed batch on the processor: rotation, scores, softmax and weighted sum
// of one sequence and head at a time, whose keys and values stay in the cache.
//
// Plain C++ that the compiler vectorises for the processor it finds at run time. Arithmetic is in
// float32 whatever the type of the input.

#include "vectors.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

constexpr int QUERIES = 16;  // queries whose scores are held at once
constexpr int TILE = 2 * LANES;  // keys that a product takes at once
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
INLINED void from_float(float x, BFloat16* out) {  // to the nearest, of two to the even one
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

// x to e^x, of x <= 0, to float32's precision (Cody and Waite's reduction, Taylor to the sixth power).
INLINED void exponentiate(Floats& x) {
  const Floats least = Floats{} - 87.0f;
  x = x > least ? x : least;
  const Floats magic = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504f + magic;
  const Floats whole = shifted - magic;
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats sum = r * (1.0f / 720) + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const Ints power = (__builtin_convertvector(whole, Ints) + 127) << 23;
  Floats two;
  std::memcpy(&two, &power, sizeof two);
  x = sum * two;
}

// What a thread works in.
struct Room {
  std::vector<float> queries;  // (QUERIES, D) rotated and scaled
  std::vector<float> keys;     // (tiles, D, TILE) rotated
  std::vector<float> values;   // (L, D)
  std::vector<float> scores;   // (QUERIES, tiles * TILE)
};

template <typename Number>
struct Batch {
  const Number* qkv;      // (N, 3, heads, D)
  const float* cosine;    // (N, D / 2)
  const float* sine;
  const int64_t* offsets; // (B + 1)
  Number* out;            // (N, heads, D)
  int64_t heads, dimension, window;

  const Number* at(int64_t token, int which, int64_t head) const {
    return qkv + ((token * 3 + which) * heads + head) * dimension;
  }
};

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

// The row's scores first..last - 1 (whole registers) of the keys from..to - 1 that the query sees to
// their exponentials, of the others to zero. Returns what makes their sum one.
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

template <typename Number>
INLINED void attend_head(const Batch<Number>& batch, int64_t sequence, int64_t head, Room& room) {
  const int64_t start = batch.offsets[sequence], length = batch.offsets[sequence + 1] - start;
  const int64_t dimension = batch.dimension, half = dimension / 2;
  const int64_t tiles = (length + TILE - 1) / TILE, stride = tiles * TILE;
  const float scale = 1 / std::sqrt(static_cast<float>(dimension));
  room.queries.assign(QUERIES * dimension, 0.0f);
  room.keys.assign(tiles * dimension * TILE, 0.0f);
  room.values.resize(length * dimension);
  room.scores.resize(QUERIES * stride);
  float row[256], sums[QUERIES * 256];
  for (int64_t j = 0; j < length; ++j) {
    const int64_t token = start + j;
    rotate_row(batch.at(token, 1, head), batch.cosine + token * half, batch.sine + token * half, half,
               1.0f, row);
    float* key = room.keys.data() + j / TILE * dimension * TILE + j % TILE;
    for (int64_t d = 0; d < dimension; ++d) key[d * TILE] = row[d];
    const Number* value = batch.at(token, 2, head);
    for (int64_t d = 0; d < dimension; ++d) room.values[j * dimension + d] = to_float(value[d]);
  }
  const int64_t reach = batch.window < 0 ? length : batch.window;
  for (int64_t first = 0; first < length; first += QUERIES) {
    const int64_t last = std::min(first + QUERIES, length);
    const int64_t from = std::max<int64_t>(0, first - reach), to = std::min(length, last + reach);
    const int64_t first_tile = from / TILE, last_tile = (to + TILE - 1) / TILE;
    for (int64_t i = first; i < last; ++i)
      rotate_row(batch.at(start + i, 0, head), batch.cosine + (start + i) * half,
                 batch.sine + (start + i) * half, half, scale,
                 room.queries.data() + (i - first) * dimension);
    for (int i = 0; i < QUERIES && first + i < last; i += 8)
      score_tiles<8>(room.queries.data() + i * dimension, room.keys.data(), dimension, first_tile,
                     last_tile, stride, room.scores.data() + i * stride);
    float shares[QUERIES];
    for (int64_t i = first; i < last; ++i)
      shares[i - first] =
          softmax_row(room.scores.data() + (i - first) * stride, first_tile * TILE,
                      last_tile * TILE, std::max<int64_t>(0, i - reach),
                      std::min(length, i + reach + 1));
    for (int i = 0; i < QUERIES && first + i < last; i += 8)
      weighted_sums<8>(room.scores.data() + i * stride, stride, room.values.data(), from, to,
                       dimension, sums + i * dimension);
    for (int64_t i = first; i < last; ++i) {
      Number* out = batch.out + ((start + i) * batch.heads + head) * dimension;
      for (int64_t d = 0; d < dimension; ++d)
        from_float(sums[(i - first) * dimension + d] * shares[i - first], out + d);
    }
  }
}

VECTORISED void attend_floats(const Batch<float>& batch, int64_t sequence, int64_t head, Room& room) {
  attend_head(batch, sequence, head, room);
}

VECTORISED void attend_halves(const Batch<BFloat16>& batch, int64_t sequence, int64_t head,
                              Room& room) {
  attend_head(batch, sequence, head, room);
}

template <typename Number, typename Attend>
void attend_all(const Batch<Number>& batch, int64_t sequences, int threads, Attend attend) {
  const int64_t pieces = sequences * batch.heads;
  std::atomic<int64_t> taken{0};
  const auto work = [&] {
    Room room;
    for (int64_t piece; (piece = taken.fetch_add(1)) < pieces;)
      attend(batch, piece / batch.heads, piece % batch.heads, room);
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads && i < pieces; ++i) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
}

template <typename Stored>
Array<Stored> attend(Array<Stored> qkv, Array<float> cosine, Array<float> sine,
                     Array<int64_t> offsets, int64_t window, int threads) {
  using Number = std::conditional_t<std::is_same_v<Stored, float>, float, BFloat16>;
  const int64_t tokens = qkv.shape(0), heads = qkv.shape(2), dimension = qkv.shape(3);
  if (dimension % LANES != 0 || dimension > 256)
    throw std::invalid_argument("the head's dimension must be a multiple of 16, and at most 256");
  Array<Stored> result({tokens, heads, dimension});
  const Batch<Number> batch{reinterpret_cast<const Number*>(qkv.data()),
                            cosine.data(),
                            sine.data(),
                            offsets.data(),
                            reinterpret_cast<Number*>(result.mutable_data()),
                            heads,
                            dimension,
                            window};
  const int64_t sequences = offsets.shape(0) - 1;
  py::gil_scoped_release release;
  if constexpr (std::is_same_v<Stored, float>)
    attend_all(batch, sequences, threads, attend_floats);
  else
    attend_all(batch, sequences, threads, attend_halves);
  return result;
}

}  // namespace

PYBIND11_MODULE(cpu_attention, module) {
  module.doc() = "Attention of a packed batch on the processor; see cpu_attention.pyi.";
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  const auto define = [&](auto function) {
    module.def("attend", function, strict("qkv"), strict("cosine"), strict("sine"),
               strict("offsets"), py::arg("window"), py::arg("threads"));
  };
  define(&attend<float>);
  define(&attend<uint16_t>);
}
