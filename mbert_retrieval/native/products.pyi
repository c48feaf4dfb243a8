"""Compiled int8 products (products.cpp). Arrays are C-contiguous and have exactly these dtypes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.uint16])  # uint16: bits of bfloat16

AVAILABLE: bool  # whether this processor has the instructions

def pack(
    weights: NDArray[np.float32],  # (O, K), both multiples of 16
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """Return (O / 16, K / 4, 16, 4) bytes, (O,) scales, and (O,) corrections for the activations'
    offset of 128."""

def product(
    x: Numbers,  # (N, K); if gated (N, 2 K), for gelu(first half) * second half
    packed: NDArray[np.int8],
    scales: NDArray[np.float32],
    offsets: NDArray[np.int32],
    gated: bool,
    threads: int,
) -> Numbers:  # (N, O)
    ...
