// Products of integers: activations or residuals, rows, with weights or query vectors, columns.
// Included by a tier's file, after simd.h and what the tier defines: Operand, GROUP, OFFSET, dot().
//
// Numbers are taken in groups of GROUP, which fill four bytes: four int8 or two int16. Columns are laid
// out as (blocks of 16, groups, 16, GROUP), so that a group of a block is 64 bytes; a row is
// (groups, GROUP). dot() multiplies four bytes of a row with those of REGISTER columns, and adds.

INLINED Ints four_bytes(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return Ints{} + four;
}

// sum[row][register] += products of ROWS rows, `stride` bytes apart, with BLOCKS blocks of columns.
template <int ROWS, int BLOCKS>
INLINED void add_groups(const uint8_t* rows, int64_t stride, const uint8_t* columns, int64_t groups,
                        Ints (&sum)[ROWS][BLOCKS * PER_BLOCK]) {
#pragma GCC unroll 4
  for (int64_t g = 0; g < groups; ++g) {
    Ints column[BLOCKS * PER_BLOCK];
    for (int b = 0; b < BLOCKS; ++b)
      for (int r = 0; r < PER_BLOCK; ++r)
        column[b * PER_BLOCK + r] = get<Ints>(columns + (b * groups + g) * 64 + r * 4 * REGISTER);
    for (int i = 0; i < ROWS; ++i) {
      const Ints row = four_bytes(rows + i * stride + 4 * g);
      for (int c = 0; c < BLOCKS * PER_BLOCK; ++c) sum[i][c] = dot(sum[i][c], row, column[c]);
    }
  }
}

int64_t column_position(int64_t o, int64_t k, int64_t inputs) {
  const int64_t operand =
      o / LANES * inputs * LANES + k / GROUP * LANES * GROUP + o % LANES * GROUP + k % GROUP;
  return operand * static_cast<int64_t>(sizeof(Operand));
}

INLINED Floats load(const float* x) { return get(x); }
INLINED Floats load(const BFloat16* x) {
  float wide[REGISTER];
  for (int i = 0; i < REGISTER; ++i) wide[i] = to_float(x[i]);
  return get(wide);
}
INLINED void store(float* out, Floats x) { put(out, x); }
INLINED void store(BFloat16* out, Floats x) {
  float wide[REGISTER];
  put(wide, x);
  for (int i = 0; i < REGISTER; ++i) from_float(wide[i], out + i);
}

// x / 2 * (1 + erf(x / sqrt 2)), erf to 1.5e-7 (Abramowitz and Stegun 7.1.26).
INLINED Floats gelu(Floats x) {
  const Floats z = larger(x, -x) * 0.70710678f;
  const Floats t = 1.0f / (z * 0.3275911f + 1.0f);
  Floats sum = Floats{} + 1.061405429f;
  sum = sum * t - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = sum * t + 0.254829592f;
  const Floats tail = sum * t * exponential(-z * z);  // 1 - erf(z)
  return x * 0.5f * (x < Floats{} ? tail : 2.0f - tail);
}

template <bool GATED, typename Number>
INLINED float quantise_row(const Number* x, int64_t inputs, float* row, Operand* out) {
  Floats most{};
  for (int64_t k = 0; k < inputs; k += REGISTER) {
    Floats value = load(x + k);
    if constexpr (GATED) value = gelu(value) * load(x + inputs + k);
    put(row + k, value);
    most = larger(most, larger(value, -value));
  }
  const float highest = highest_of(most);
  const float factor = highest > 0 ? 127 / highest : 0;
  const Floats magic = Floats{} + 12582912.0f;  // adding and taking it off rounds to an integer
  for (int64_t k = 0; k < inputs; k += REGISTER) {
    const Floats rounded = (get(row + k) * factor + magic) - magic;
    const Ints numbers = __builtin_convertvector(rounded, Ints) + OFFSET;
    for (int i = 0; i < REGISTER; ++i) out[k + i] = static_cast<Operand>(numbers[i]);
  }
  return highest / 127;
}

template <typename Number>
float quantise(const Number* x, int64_t inputs, bool gated, float* row, uint8_t* out) {
  Operand* operands = reinterpret_cast<Operand*>(out);
  return gated ? quantise_row<true>(x, inputs, row, operands)
               : quantise_row<false>(x, inputs, row, operands);
}

// Multiply COUNT rows with BLOCKS blocks of columns, the first of which is `output`.
template <int COUNT, int BLOCKS, typename Number>
INLINED void multiply_some(const uint8_t* rows, const float* scales, const Int8Weights& weights,
                           int64_t output, Number* out) {
  const int64_t groups = weights.inputs / GROUP;
  Ints sum[COUNT][BLOCKS * PER_BLOCK];
  for (int c = 0; c < BLOCKS * PER_BLOCK; ++c) {
    const Ints offset = get<Ints>(weights.offsets + output + c * REGISTER);
    for (int i = 0; i < COUNT; ++i) sum[i][c] = offset;
  }
  add_groups<COUNT, BLOCKS>(rows, 4 * groups, weights.packed + output * groups * 4, groups, sum);
  for (int c = 0; c < BLOCKS * PER_BLOCK; ++c) {
    const Floats scale = get(weights.scales + output + c * REGISTER);
    for (int i = 0; i < COUNT; ++i)
      store(out + i * weights.outputs + output + c * REGISTER,
            __builtin_convertvector(sum[i][c], Floats) * (scale * scales[i]));
  }
}

template <int BLOCKS, typename Number>
INLINED void multiply_column(const uint8_t* rows, const float* scales, int64_t count,
                             const Int8Weights& weights, int64_t output, Number* out) {
  const int64_t stride = weights.inputs / GROUP * 4;
  int64_t r = 0;
  for (; r + PRODUCT_ROWS <= count; r += PRODUCT_ROWS)
    multiply_some<PRODUCT_ROWS, BLOCKS>(rows + r * stride, scales + r, weights, output,
                                        out + r * weights.outputs);
  for (; r < count; ++r)
    multiply_some<1, BLOCKS>(rows + r * stride, scales + r, weights, output, out + r * weights.outputs);
}

template <typename Number>
void multiply(const uint8_t* rows, const float* scales, int64_t count, const Int8Weights& weights,
              Number* out) {
  int64_t output = 0;
  for (; output + PRODUCT_BLOCKS * LANES <= weights.outputs; output += PRODUCT_BLOCKS * LANES)
    multiply_column<PRODUCT_BLOCKS>(rows, scales, count, weights, output, out);
  for (; output < weights.outputs; output += LANES)
    multiply_column<1>(rows, scales, count, weights, output, out);
}
