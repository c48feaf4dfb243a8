"""Arrays in files (npy), memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..packed import Packed


def load_array(file: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only array that stays in its file. Raises FileNotFoundError, and InputError naming the
    file when it does not hold such an array."""
    try:
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # of a damaged header numpy tells what its parser happens to raise
        raise InputError(f"{file} is damaged: {error}") from None
    if mapped.dtype != dtype or mapped.shape != shape:
        raise InputError(
            f"{file} is damaged: it holds {mapped.dtype} {mapped.shape}, not "
            f"{np.dtype(dtype)} {shape}"
        )
    return np.asarray(mapped)


def load_packed(folder: Path, passages: int, vectors: int, dimension: int) -> Packed:
    """`vectors.npy` (N, D) float32 cut by `offsets.npy` (P + 1,) int64; raises as `load_array`."""
    values = load_array(folder / "vectors.npy", np.float32, (vectors, dimension))
    offsets = load_array(folder / "offsets.npy", np.int64, (passages + 1,))
    try:
        return Packed(values, offsets)
    except ValueError as error:
        raise InputError(f"{folder / 'offsets.npy'} is damaged: {error}") from None
