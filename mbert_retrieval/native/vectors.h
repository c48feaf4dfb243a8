// SIMD types, and how functions are compiled for several instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#endif
#if defined(X86) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED
#endif
#if defined(__GNUC__)
#define INLINED_LAMBDA __attribute__((always_inline))
#define INLINED INLINED_LAMBDA inline
#else
#define INLINED_LAMBDA
#define INLINED inline
#endif

namespace {

constexpr int LANES = 16;  // vectors per register, one per lane
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint8_t Bytes16 __attribute__((vector_size(16), aligned(1)));
typedef uint8_t Bytes32 __attribute__((vector_size(32), aligned(1)));

// Replace x, at most 0, by e^x in float32 precision (Cody and Waite's reduction, Taylor series of
// degree 6).
INLINED void exponentiate(Floats& x) {
  const Floats least = Floats{} - 87.0f;
  x = x > least ? x : least;
  const Floats magic = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x * 1.44269504f + magic;
  const Floats integer = shifted - magic;
  const Floats r = (x - integer * 0.693359375f) + integer * 2.12194440e-4f;
  Floats sum = r * (1.0f / 720) + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const Ints power = (__builtin_convertvector(integer, Ints) + 127) << 23;
  Floats two;
  std::memcpy(&two, &power, sizeof two);
  x = sum * two;
}

#ifdef X86
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

const bool HAS_VNNI = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");

// sum[r][b] += product of ROWS rows of unsigned bytes, `stride` apart, with BLOCKS registers of
// columns of signed bytes: columns is (BLOCKS, groups, 16, 4), and a row has 4 * groups bytes.
template <int ROWS, int BLOCKS>
VNNI inline void byte_products(const uint8_t* rows, int64_t stride, const int8_t* columns,
                               int64_t groups, __m512i (&sum)[ROWS][BLOCKS]) {
#pragma GCC unroll 4
  for (int64_t g = 0; g < groups; ++g) {
    __m512i lanes[BLOCKS];
    for (int b = 0; b < BLOCKS; ++b)
      lanes[b] = _mm512_loadu_si512(columns + (b * groups + g) * 64);
    for (int r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, rows + r * stride + 4 * g, 4);
      const __m512i weights = _mm512_set1_epi32(four);
      for (int b = 0; b < BLOCKS; ++b) sum[r][b] = _mm512_dpbusd_epi32(sum[r][b], weights, lanes[b]);
    }
  }
}
#else
const bool HAS_VNNI = false;
#endif

}  // namespace
