"""The compiled part (products.cpp): loops over C-contiguous arrays of these dtypes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.uint16])  # uint16: bits of bfloat16

AVAILABLE: bool  # whether this processor has the instructions

def pack(
    weights: NDArray[np.float32],  # (O, K), both multiples of 16
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """(O / 16, K / 4, 16, 4) bytes, (O,) scales, (O,) what the activations' offset of 128 adds."""

def product(
    x: Numbers,  # (N, K); (N, 2 K) where gated, of which gelu(first half) * second half is taken
    packed: NDArray[np.int8],
    scales: NDArray[np.float32],
    offsets: NDArray[np.int32],
    gated: bool,
    threads: int,
) -> Numbers:  # (N, O)
    ...
