// Registers of numbers, and how functions are compiled for the processors that have them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>

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

namespace py = pybind11;
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr int LANES = 16;  // query vectors, or passage vectors, that one register holds
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint8_t Bytes16 __attribute__((vector_size(16), aligned(1)));
typedef uint8_t Bytes32 __attribute__((vector_size(32), aligned(1)));

}  // namespace
