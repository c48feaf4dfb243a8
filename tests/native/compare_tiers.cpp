// Every tier that this processor allows beside the portable one, on random arguments, without Python:
// so that it can be compiled for another processor and run in an emulator (test_other_processors.py).
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../mbert_retrieval/native/attention.h"
#include "../../mbert_retrieval/native/products.h"

namespace mbert {
extern const Kernels AVX512, AVX2, NEON, PORTABLE;
}

using namespace mbert;

std::mt19937 generator(0);

std::vector<float> floats(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(generator);
  return x;
}

template <typename T>
std::vector<T> integers(int64_t count, int low, int high) {
  std::uniform_int_distribution<int> uniform(low, high);
  std::vector<T> x(count);
  for (T& value : x) value = static_cast<T>(uniform(generator));
  return x;
}

void check(const char* what, const std::vector<float>& ours, const std::vector<float>& expected,
           float tolerance) {
  for (size_t i = 0; i < ours.size(); ++i)
    if (!(std::abs(ours[i] - expected[i]) <= tolerance * (1 + std::abs(expected[i])))) {
      std::printf("%s differs at %zu: %g, portable %g\n", what, i, ours[i], expected[i]);
      std::exit(1);
    }
}

void attention(const Kernels& tier, int64_t length, int64_t dimension, int64_t window) {
  const auto qkv = floats(length * 3 * dimension), angles = floats(length * dimension / 2);
  const auto slopes = floats(length * dimension);
  std::vector<float> cosine, sine;
  for (const float angle : angles) {
    cosine.push_back(std::cos(angle));
    sine.push_back(std::sin(angle));
  }
  const int64_t rounded = (length + MOST_TILE - 1) / MOST_TILE * MOST_TILE;
  const auto run = [&](const Kernels& kernels, bool backward) {
    std::vector<float> out(length * dimension * (backward ? 3 : 1));
    std::vector<std::vector<float>> memory;
    for (int i = 0; i < 9; ++i)
      memory.emplace_back(MOST_QUERIES * rounded + (rounded + MOST_QUERIES) * dimension);
    const AttentionScratch scratch{memory[0].data(), memory[1].data(), memory[2].data(),
                                   memory[3].data(), memory[4].data(), memory[5].data(),
                                   memory[6].data(), memory[7].data(), memory[8].data()};
    const AttentionBatch<float> batch{qkv.data(), cosine.data(), sine.data(), out.data(), slopes.data(),
                                      1,          dimension,     window};
    (backward ? kernels.attend_float_backward : kernels.attend_float)(batch, {0, length, 0}, scratch);
    return out;
  };
  check("attention", run(tier, false), run(PORTABLE, false), 1e-4f);
  check("its gradient", run(tier, true), run(PORTABLE, true), 2e-3f);
}

void products(const Kernels& tier, int64_t rows, int64_t inputs, int64_t outputs) {
  const auto x = floats(rows * inputs * 2), weights = floats(outputs * inputs);
  const auto run = [&](const Kernels& kernels, bool gated) {
    std::vector<uint8_t> packed(outputs * inputs * kernels.operand_bytes);
    std::vector<float> scales(outputs), row(inputs), row_scales(rows), out(rows * outputs);
    std::vector<int32_t> offsets(outputs);
    for (int64_t o = 0; o < outputs; ++o) {
      int32_t sum = 0;
      for (int64_t k = 0; k < inputs; ++k) {
        const auto number = static_cast<int8_t>(std::lrint(std::tanh(weights[o * inputs + k]) * 127));
        uint8_t* at = packed.data() + kernels.column_position(o, k, inputs);
        if (kernels.operand_bytes == 2) {
          const int16_t wide = number;
          std::memcpy(at, &wide, 2);
        } else {
          std::memcpy(at, &number, 1);
        }
        sum += number;
      }
      scales[o] = 0.01f;
      offsets[o] = -kernels.activation_offset * sum;
    }
    const int64_t width = inputs * kernels.operand_bytes;
    std::vector<uint8_t> quantised(rows * width);
    for (int64_t r = 0; r < rows; ++r)
      row_scales[r] = kernels.quantise_float(x.data() + r * inputs * (gated ? 2 : 1), inputs, gated,
                                             row.data(), quantised.data() + r * width);
    kernels.multiply_float(quantised.data(), row_scales.data(), rows,
                           {packed.data(), scales.data(), offsets.data(), inputs, outputs}, out.data());
    return out;
  };
  for (const bool gated : {false, true})
    check("a product", run(tier, gated), run(PORTABLE, gated), gated ? 0.1f : 0.05f);
}

void nearest(const Kernels& tier, int64_t count, int64_t dimension) {
  const auto tile = floats(dimension * LANES), centroids = floats(count * dimension),
             norms = floats(count);
  const auto run = [&](const Kernels& kernels) {
    std::vector<float> scores(count * LANES), best(LANES, -1e30f);
    std::vector<int32_t> number(LANES);
    kernels.scores_of_block(tile.data(), centroids.data(), norms.data(), count, dimension, scores.data(),
                            LANES);
    kernels.best_of_block(tile.data(), centroids.data(), norms.data(), count, dimension, 0, best.data(),
                          number.data());
    scores.insert(scores.end(), best.begin(), best.end());
    const int p = static_cast<int>(std::min<int64_t>(8, count));
    std::vector<int32_t> groups(LANES * p);
    kernels.best_groups(scores.data(), count, p, groups.data());
    for (int lane = 0; lane < LANES; ++lane)
      for (int rank = 0; rank < p; ++rank)
        scores.push_back(scores[groups[lane * p + rank] * LANES + lane]);
    return scores;
  };
  check("a centroid's score", run(tier), run(PORTABLE), 1e-4f);
}

void residuals(const Kernels& tier, int bits, int64_t dimension, int64_t vectors, int64_t lanes) {
  const int64_t planes = 8 / bits, bytes = (dimension + planes - 1) / planes;
  const int64_t padded = (planes * bytes + 3) / 4 * 4;
  const auto packed = integers<uint8_t>(vectors * bytes, 0, 255);
  const auto codes = integers<uint16_t>(vectors, 0, 9);
  const auto buckets = integers<int8_t>(std::max(16, 1 << bits), -127, 127);
  const auto numbers = integers<int8_t>(lanes * dimension, -127, 127);
  const auto table = floats(10 * lanes);
  const std::vector<float> factors(lanes, 1e-4f);
  const auto run = [&](const Kernels& kernels) {
    std::vector<uint8_t> query(lanes * padded * kernels.operand_bytes);
    std::vector<float> best(lanes);
    std::vector<uint8_t> scratch(MOST_ROWS * (padded * kernels.operand_bytes + UNPACKED_SLACK));
    std::vector<int64_t> sums(lanes);
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int64_t d = 0; d < dimension; ++d) {
        const int8_t number = numbers[lane * dimension + d];
        uint8_t* at = query.data() + kernels.column_position(lane, d, padded);
        if (kernels.operand_bytes == 2) {
          const int16_t wide = number;
          std::memcpy(at, &wide, 2);
        } else {
          std::memcpy(at, &number, 1);
        }
        sums[lane] += number;
      }
    kernels.max_sim16({codes.data(), packed.data(), vectors, bytes, 9, bits, buckets.data()},
                      {query.data(), table.data(), factors.data(), lanes, padded}, scratch.data(),
                      best.data());
    for (int64_t lane = 0; lane < lanes; ++lane)
      best[lane] -= 1e-4f * static_cast<float>(kernels.activation_offset * sums[lane]);
    return best;
  };
  check("a residual's score", run(tier), run(PORTABLE), 1e-3f);
}

int main() {
  std::vector<const Kernels*> others;
#if defined(__x86_64__)
  const std::string allowed = available_tiers();
  if (allowed.find("avx512") != std::string::npos) others.push_back(&AVX512);
  if (allowed.find("avx2") != std::string::npos) others.push_back(&AVX2);
#elif defined(__aarch64__)
  others.push_back(&NEON);
#endif
  for (const Kernels* tier : others) {
    for (const int64_t length : {1, 5, 31, 32, 33, 90, 200})
      for (const int64_t dimension : {16, 32, 64, 80, 256})
        for (const int64_t window : {-1, 0, 7, 64}) attention(*tier, length, dimension, window);
    for (const int64_t rows : {1, 2, 5, 6, 7, 13})
      for (const int64_t inputs : {16, 48, 256})
        for (const int64_t outputs : {16, 32, 48}) products(*tier, rows, inputs, outputs);
    for (const int64_t count : {1, 7, 8, 9, 100})
      for (const int64_t dimension : {1, 48, 128}) nearest(*tier, count, dimension);
    for (const int bits : {1, 2, 4, 8})
      for (const int64_t dimension : {1, 17, 48, 64, 128, 130})
        for (const int64_t vectors : {1, 6, 9, 40})
          for (const int64_t lanes : {16, 32, 48}) residuals(*tier, bits, dimension, vectors, lanes);
    std::printf("%s agrees with portable\n", tier->name);
  }
  return 0;
}
