// SIMD types of a tier's own width, and how functions are made part of their callers. Included by a
// tier's file, inside its unnamed namespace; REGISTER is the number of floats in a register.

#define INLINED __attribute__((always_inline)) inline
#define INLINED_LAMBDA __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * REGISTER)));
typedef int32_t Ints __attribute__((vector_size(4 * REGISTER)));

constexpr int PER_BLOCK = LANES / REGISTER;  // registers of a block of columns
constexpr float LOWEST = -__builtin_inff();

INLINED int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINED int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINED float larger(float a, float b) { return a > b ? a : b; }
INLINED Floats larger(Floats a, Floats b) { return a > b ? a : b; }
INLINED Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

// Registers from and to memory of any alignment.
template <typename Register = Floats>
INLINED Register get(const void* x) {
  Register value;
  __builtin_memcpy(&value, x, sizeof value);
  return value;
}
template <typename Register>
INLINED void put(void* x, Register value) {
  __builtin_memcpy(x, &value, sizeof value);
}

INLINED void fill(float* x, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) x[i] = value;
}

INLINED float sum_of(Floats x) {
  float sum = 0;
  for (int lane = 0; lane < REGISTER; ++lane) sum += x[lane];
  return sum;
}

INLINED float highest_of(Floats x) {
  float highest = x[0];
  for (int lane = 1; lane < REGISTER; ++lane) highest = larger(highest, x[lane]);
  return highest;
}

INLINED float to_float(float x) { return x; }
INLINED float to_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
INLINED void from_float(float x, float* out) { *out = x; }
INLINED void from_float(float x, BFloat16* out) {  // round to nearest, ties to even
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  out->bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x for x at most 0, in float32 precision (Cody and Waite's reduction, Taylor series of degree 6).
INLINED Floats exponential(Floats x) {
  x = larger(x, Floats{} - 87.0f);
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
  __builtin_memcpy(&two, &power, sizeof two);
  return sum * two;
}
