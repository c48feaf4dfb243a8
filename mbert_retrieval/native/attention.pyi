"""Compiled attention (attention.cpp). Arrays are C-contiguous and have exactly these dtypes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.uint16])  # uint16: bits of bfloat16

def attend(
    qkv: Numbers,  # (N, 3, heads, D), D a multiple of 16 and at most 256
    cosine: NDArray[np.float32],  # (N, D / 2) of the rotation of each token
    sine: NDArray[np.float32],  # (N, D / 2)
    offsets: NDArray[np.int64],  # (B + 1,)
    window: int,  # tokens attended to on either side; -1 for all
    threads: int,
) -> Numbers:  # (N, heads, D)
    ...
def attend_backward(
    gradients: Numbers,  # (N, heads, D), the gradient of the output
    qkv: Numbers,
    cosine: NDArray[np.float32],
    sine: NDArray[np.float32],
    offsets: NDArray[np.int64],
    window: int,
    threads: int,
) -> Numbers:  # (N, 3, heads, D), the gradient of qkv
    ...
