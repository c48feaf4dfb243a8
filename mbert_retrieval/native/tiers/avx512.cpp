// Processors with AVX-512 VNNI. Products of integers are of unsigned with signed bytes, four at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#include "../kernels.h"

namespace mbert {
namespace {

constexpr int REGISTER = 16;
constexpr int QUERIES = 16, SCORED_QUERIES = 8, SCATTERED = 16;  // attention
constexpr int CENTROIDS = 8;
constexpr int PRODUCT_ROWS = 6, PRODUCT_BLOCKS = 2, SCORE_ROWS = 8, SCORE_BLOCKS = 2;

#include "simd.h"

typedef uint8_t Operand;
constexpr int GROUP = 4, OFFSET = 128;

INLINED Ints dot(Ints sum, Ints row, Ints column) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)row, (__m512i)column);
}

INLINED bool any_of(Ints mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0; }

// Look up one plane of bucket numbers, of up to four bits each. Returns how many; the last store may
// write beyond them.
INLINED int64_t unpack_plane(const uint8_t* packed, int64_t bytes, int shift, int mask,
                             const int8_t* buckets, Operand* out) {
  const __m128i values = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(buckets)),
                                       _mm_set1_epi8(static_cast<char>(OFFSET)));  // adds 128
  const __m512i table = _mm512_broadcast_i32x4(values);
  const __m512i masks = _mm512_set1_epi8(static_cast<char>(mask));
  for (int64_t j = 0; j < bytes; j += 64) {
    const __mmask64 present = bytes - j >= 64 ? ~0ull : (1ull << (bytes - j)) - 1;
    const __m512i byte = _mm512_maskz_loadu_epi8(present, packed + j);
    const __m512i number = _mm512_and_si512(_mm512_srl_epi16(byte, _mm_cvtsi32_si128(shift)), masks);
    _mm512_storeu_si512(out + j, _mm512_shuffle_epi8(table, number));
  }
  return bytes;
}

#include "tier.h"

}  // namespace

extern const Kernels AVX512 = table("avx512", true, true);

}  // namespace mbert

#endif
