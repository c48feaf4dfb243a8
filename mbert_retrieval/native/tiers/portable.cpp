// Any processor: what the compiler makes of plain vectors. The measure that the other tiers are tested
// against.
#include "../kernels.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mbert {
namespace {

constexpr int REGISTER = 4;
constexpr int QUERIES = 16, SCORED_QUERIES = 4, SCATTERED = 8;  // attention
constexpr int CENTROIDS = 2;
constexpr int PRODUCT_ROWS = 2, PRODUCT_BLOCKS = 1, SCORE_ROWS = 2, SCORE_BLOCKS = 1;

#include "simd.h"

typedef int16_t Operand;
constexpr int GROUP = 2, OFFSET = 0;

INLINED Ints dot(Ints sum, Ints row, Ints column) {
#if defined(__SSE2__)
  return sum + (Ints)_mm_madd_epi16((__m128i)row, (__m128i)column);
#else
  Operand a[2 * REGISTER], b[2 * REGISTER];
  __builtin_memcpy(a, &row, sizeof row);
  __builtin_memcpy(b, &column, sizeof column);
  for (int i = 0; i < REGISTER; ++i) sum[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return sum;
#endif
}

INLINED bool any_of(Ints mask) { return (mask[0] | mask[1] | mask[2] | mask[3]) != 0; }

INLINED int64_t unpack_plane(const uint8_t*, int64_t, int, int, const int8_t*, Operand*) { return 0; }

#include "tier.h"

}  // namespace

extern const Kernels PORTABLE = table("portable", false, false);

}  // namespace mbert
