// All kernels of a tier, and their table. Included by a tier's file, inside its unnamed namespace.

#include "attention.h"
#include "nearest.h"
#include "products.h"
#include "scoring.h"

constexpr Kernels table(const char* name, bool int8_is_fast, bool attention_is_fast) {
  return {name,
          int8_is_fast,
          attention_is_fast,
          attend_head<float>,
          attend_head<BFloat16>,
          attend_head_backward<float>,
          attend_head_backward<BFloat16>,
          sizeof(Operand),
          OFFSET,
          column_position,
          quantise<float>,
          quantise<BFloat16>,
          multiply<float>,
          multiply<BFloat16>,
          best_of_block,
          scores_of_block,
          best_groups,
          bucket_numbers,
          max_sim<uint16_t>,
          max_sim<uint32_t>,
          level_sum<uint16_t>,
          level_sum<uint32_t>,
          widen_range,
          to_levels,
          any_at_least};
}
