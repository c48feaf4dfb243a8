// Products of activations with weights in int8 (AVX-512 VNNI). Each row of activations is quantised
// with its own scale when multiplied, each row of weights in advance.
//
// x ~ scale * (u - 128) with u in 1..255, since the instruction needs an unsigned left side; the 128
// is subtracted again by means of the weights' sums. Activations may consist of two halves that are
// gated first: gelu(first) * second, as in GeGLU (Shazeer 2020).

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

#include "vectors.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

constexpr int64_t BLOCK = 96;  // rows of activations that stay in the cache
constexpr int ROWS = 6, PANEL = 2;  // rows and registers of outputs per step

struct Weights {
  const int8_t* packed;    // (O / 16, K / 4, 16, 4)
  const float* scales;     // (O)
  const int32_t* offsets;  // (O) -128 times the sum of each row of weights
  int64_t inputs, outputs;
};

// Memory of one thread.
struct Scratch {
  std::vector<float> row;          // (K)
  std::vector<uint8_t> quantised;  // (BLOCK, K)
};

#ifdef X86
VNNI inline __m512 load(const float* x) { return _mm512_loadu_ps(x); }
VNNI inline __m512 load(const uint16_t* x) {  // bits of bfloat16
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
VNNI inline void store(float* out, __m512 x) { _mm512_storeu_ps(out, x); }
VNNI inline void store(uint16_t* out, __m512 x) {  // round to nearest, ties to even
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

// x / 2 * (1 + erf(x / sqrt 2)), erf to 1.5e-7 (Abramowitz and Stegun 7.1.26).
VNNI inline __m512 gelu(__m512 x) {
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  const __m512 t = _mm512_div_ps(_mm512_set1_ps(1), _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f),
                                                                     _mm512_set1_ps(1)));
  __m512 sum = _mm512_set1_ps(1.061405429f);
  for (const float term : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(term));
  Floats decay = (Floats)_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z));
  exponentiate(decay);
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(sum, t), (__m512)decay);  // 1 - erf(z)
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  const __m512 twice = _mm512_mask_blend_ps(
      negative, _mm512_sub_ps(_mm512_set1_ps(2), tail), tail);  // 1 + erf(x / sqrt 2)
  return _mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.5f)), twice);
}

// Quantise one row of activations (a multiple of 16) to unsigned bytes. Returns its scale. GATED: x
// consists of two halves. row: scratch memory for `inputs` numbers.
template <bool GATED, typename Number>
VNNI inline float quantise_row(const Number* x, int64_t inputs, float* row, uint8_t* out) {
  __m512 most = _mm512_setzero_ps();
  for (int64_t k = 0; k < inputs; k += LANES) {
    __m512 value = load(x + k);
    if constexpr (GATED) value = _mm512_mul_ps(gelu(value), load(x + inputs + k));
    _mm512_storeu_ps(row + k, value);
    most = _mm512_max_ps(most, _mm512_abs_ps(value));
  }
  const float highest = _mm512_reduce_max_ps(most);
  const __m512 factor = _mm512_set1_ps(highest > 0 ? 127 / highest : 0);
  for (int64_t k = 0; k < inputs; k += LANES) {
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(row + k), factor));
    const __m512i shifted = _mm512_add_epi32(rounded, _mm512_set1_epi32(128));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + k), _mm512_cvtepi32_epi8(shifted));
  }
  return highest / 127;
}

// Multiply COUNT rows with WIDTH registers of outputs.
template <int COUNT, int WIDTH, typename Number>
VNNI inline void multiply(const uint8_t* rows, const float* scales, const Weights& weights,
                          int64_t output, Number* out) {
  const int64_t groups = weights.inputs / 4;
  const int8_t* panel = weights.packed + output * weights.inputs;
  __m512i sum[COUNT][WIDTH];
  for (int w = 0; w < WIDTH; ++w) {
    const __m512i offset = _mm512_loadu_si512(weights.offsets + output + w * LANES);
    for (int r = 0; r < COUNT; ++r) sum[r][w] = offset;
  }
  byte_products(rows, weights.inputs, panel, groups, sum);
  for (int w = 0; w < WIDTH; ++w) {
    const __m512 scale = _mm512_loadu_ps(weights.scales + output + w * LANES);
    for (int r = 0; r < COUNT; ++r) {
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(scales[r]));
      store(out + r * weights.outputs + output + w * LANES,
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][w]), factor));
    }
  }
}

template <int COUNT, typename Number>
VNNI void multiply_rows(const uint8_t* rows, const float* scales, const Weights& weights,
                        int64_t output, int64_t width, Number* out) {
  for (; width >= PANEL; width -= PANEL, output += PANEL * LANES)
    multiply<COUNT, PANEL>(rows, scales, weights, output, out);
  for (; width > 0; --width, output += LANES)
    multiply<COUNT, 1>(rows, scales, weights, output, out);
}

// Multiply the rows first..last - 1, at most BLOCK.
template <bool GATED, typename Number>
VNNI void multiply_block(const Number* x, const Weights& weights, int64_t first, int64_t last,
                         Scratch& scratch, Number* out) {
  const int64_t inputs = weights.inputs, count = last - first;
  uint8_t* quantised = scratch.quantised.data();
  float scales[BLOCK];
  for (int64_t r = 0; r < count; ++r)
    scales[r] = quantise_row<GATED>(x + (first + r) * inputs * (GATED ? 2 : 1), inputs,
                                    scratch.row.data(), quantised + r * inputs);
  Number* rows_out = out + first * weights.outputs;
  for (int64_t output = 0; output < weights.outputs; output += PANEL * LANES) {
    const int64_t width = std::min<int64_t>(PANEL, (weights.outputs - output) / LANES);
    int64_t r = 0;
    for (; r + ROWS <= count; r += ROWS)
      multiply_rows<ROWS>(quantised + r * inputs, scales + r, weights, output, width,
                          rows_out + r * weights.outputs);
    for (; r < count; ++r)
      multiply_rows<1>(quantised + r * inputs, scales + r, weights, output, width,
                       rows_out + r * weights.outputs);
  }
}
#else
template <bool GATED, typename Number>
void multiply_block(const Number*, const Weights&, int64_t, int64_t, Scratch&, Number*) {}
#endif

py::tuple pack(Array<float> weights) {
  const int64_t outputs = weights.shape(0), inputs = weights.shape(1);
  if (inputs % LANES != 0 || outputs % LANES != 0)
    throw std::invalid_argument("both sides of the weights must be multiples of 16");
  Array<int8_t> packed({outputs / LANES, inputs / 4, int64_t{LANES}, int64_t{4}});
  Array<float> scales(outputs);
  Array<int32_t> offsets(outputs);
  for (int64_t o = 0; o < outputs; ++o) {
    const float* row = weights.data() + o * inputs;
    float highest = 0;
    for (int64_t k = 0; k < inputs; ++k) highest = std::max(highest, std::abs(row[k]));
    const float factor = highest > 0 ? 127 / highest : 0;
    int8_t* out = packed.mutable_data() + o / LANES * inputs * LANES + o % LANES * 4;
    int32_t sum = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      const auto rounded = static_cast<int8_t>(std::lrint(row[k] * factor));
      out[k / 4 * LANES * 4 + k % 4] = rounded;
      sum += rounded;
    }
    scales.mutable_data()[o] = highest / 127;
    offsets.mutable_data()[o] = -128 * sum;
  }
  return py::make_tuple(packed, scales, offsets);
}

template <typename Number>
Array<Number> product(Array<Number> x, Array<int8_t> packed, Array<float> scales,
                      Array<int32_t> offsets, bool gated, int threads) {
  if (!HAS_VNNI) throw std::runtime_error("this processor has no products of bytes (AVX-512 VNNI)");
  const Weights weights{packed.data(), scales.data(), offsets.data(), 4 * packed.shape(1),
                        scales.shape(0)};
  if (x.shape(1) != weights.inputs * (gated ? 2 : 1))
    throw std::invalid_argument("activations and weights differ in their inputs");
  const int64_t rows = x.shape(0), blocks = (rows + BLOCK - 1) / BLOCK;
  Array<Number> result({rows, weights.outputs});
  const Number* from = x.data();
  Number* to = result.mutable_data();
  py::gil_scoped_release release;
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    Scratch scratch{std::vector<float>(weights.inputs), std::vector<uint8_t>(BLOCK * weights.inputs)};
    for (int64_t block; (block = next.fetch_add(1)) < blocks;) {
      const int64_t first = block * BLOCK, last = std::min(rows, first + BLOCK);
      if (gated)
        multiply_block<true>(from, weights, first, last, scratch, to);
      else
        multiply_block<false>(from, weights, first, last, scratch, to);
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads && i < blocks; ++i) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
  return result;
}

}  // namespace

PYBIND11_MODULE(products, module) {
  module.doc() = "Products in int8 on the processor; see products.pyi.";
  module.attr("AVAILABLE") = HAS_VNNI;
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("pack", &pack, strict("weights"));
  const auto define = [&](auto function) {
    module.def("product", function, strict("x"), strict("packed"), strict("scales"),
               strict("offsets"), py::arg("gated"), py::arg("threads"));
  };
  define(&product<float>);
  define(&product<uint16_t>);
}
