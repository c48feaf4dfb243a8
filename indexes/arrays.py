"""Arrays in files (.npy), memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..packed import Packed


def load_array(file: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Return a read-only array that stays in its file.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file does not contain an array of this type and shape.
    """
    try:
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy raises errors of many types for a damaged header
        raise InputError(f"{file} is damaged: {error}") from None
    if mapped.dtype != dtype or mapped.shape != shape:
        raise InputError(
            f"{file} is damaged: it contains {mapped.dtype} {mapped.shape}, not "
            f"{np.dtype(dtype)} {shape}"
        )
    return np.asarray(mapped)


def load_packed(folder: Path, passages: int, vectors: int, dimension: int) -> Packed:
    """Return `vectors.npy` (N, D) float32 with `offsets.npy` (P + 1,) int64.

    Raises the same errors as `load_array`.
    """
    values = load_array(folder / "vectors.npy", np.float32, (vectors, dimension))
    offsets = load_array(folder / "offsets.npy", np.int64, (passages + 1,))
    try:
        return Packed(values, offsets)
    except ValueError as error:
        raise InputError(f"{folder / 'offsets.npy'} is damaged: {error}") from None
