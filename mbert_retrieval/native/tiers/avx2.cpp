// Processors with AVX2 and FMA. Products of integers take int16, which the instruction adds in pairs
// without saturation, at the speed of int8: unlike the product of bytes it needs no second step.
#if defined(__x86_64__)

#include <immintrin.h>

#include "../kernels.h"

namespace mbert {
namespace {

constexpr int REGISTER = 8;
constexpr int QUERIES = 24, SCORED_QUERIES = 6, SCATTERED = 8;  // attention
constexpr int CENTROIDS = 6;
constexpr int PRODUCT_ROWS = 6, PRODUCT_BLOCKS = 1, SCORE_ROWS = 6, SCORE_BLOCKS = 1;

#include "simd.h"

typedef int16_t Operand;
constexpr int GROUP = 2, OFFSET = 0;

INLINED Ints dot(Ints sum, Ints row, Ints column) {
  return sum + (Ints)_mm256_madd_epi16((__m256i)row, (__m256i)column);
}

INLINED bool any_of(Ints mask) { return _mm256_movemask_ps((__m256)mask) != 0; }

// Look up one plane of bucket numbers, of up to four bits each. Returns how many.
INLINED int64_t unpack_plane(const uint8_t* packed, int64_t bytes, int shift, int mask,
                             const int8_t* buckets, Operand* out) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(buckets));
  const __m128i masks = _mm_set1_epi8(static_cast<char>(mask)), shifts = _mm_cvtsi32_si128(shift);
  int64_t j = 0;
  for (; j + 16 <= bytes; j += 16) {
    const __m128i byte = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + j));
    const __m128i number = _mm_and_si128(_mm_srl_epi16(byte, shifts), masks);
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(values, number));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + j), wide);
  }
  return j;
}

#include "tier.h"

}  // namespace

extern const Kernels AVX2 = table("avx2", true, true);

}  // namespace mbert

#endif
