// ARM processors with products of bytes (dotprod), which is all 64-bit ones of the last years.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "../kernels.h"

namespace mbert {
namespace {

constexpr int REGISTER = 4;
constexpr int QUERIES = 16, SCORED_QUERIES = 8, SCATTERED = 16;  // attention
constexpr int CENTROIDS = 4;
constexpr int PRODUCT_ROWS = 6, PRODUCT_BLOCKS = 1, SCORE_ROWS = 6, SCORE_BLOCKS = 1;

#include "simd.h"

typedef int8_t Operand;
constexpr int GROUP = 4, OFFSET = 0;

INLINED Ints dot(Ints sum, Ints row, Ints column) {
  return (Ints)vdotq_s32((int32x4_t)sum, (int8x16_t)row, (int8x16_t)column);
}

INLINED bool any_of(Ints mask) { return vmaxvq_u32((uint32x4_t)mask) != 0; }

// Look up one plane of bucket numbers, of up to four bits each. Returns how many.
INLINED int64_t unpack_plane(const uint8_t* packed, int64_t bytes, int shift, int mask,
                             const int8_t* buckets, Operand* out) {
  const int8x16_t values = vld1q_s8(buckets);
  const uint8x16_t masks = vdupq_n_u8(static_cast<uint8_t>(mask));
  const int8x16_t shifts = vdupq_n_s8(static_cast<int8_t>(-shift));
  int64_t j = 0;
  for (; j + 16 <= bytes; j += 16) {
    const uint8x16_t number = vandq_u8(vshlq_u8(vld1q_u8(packed + j), shifts), masks);
    vst1q_s8(out + j, vqtbl1q_s8(values, number));
  }
  return j;
}

#include "tier.h"

}  // namespace

extern const Kernels NEON = table("neon", true, true);

}  // namespace mbert

#endif
