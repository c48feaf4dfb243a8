"""`Packed`: the ragged array that runs from the tokenizer to the disk. Nothing here is padded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Packed:
    """Sequences of unequal length in one flat array, without padding.

    Sequence i is `values[offsets[i]:offsets[i + 1]]`; Flash Attention calls such offsets
    `cu_seqlens`. `len(packed)` is the number of sequences, `packed[i]` is a view of one of them,
    and iteration yields all of them.

    Args:
        values: The sequences concatenated, (N, ...) of any dtype.
        offsets: Where each sequence starts, and the end of the last one: (B + 1,) int64 that rise
            from 0 to N.

    Raises:
        TypeError: When values or offsets are not numpy arrays, or offsets are not integers.
        ValueError: When the offsets do not describe the values.

    Example:
        >>> import numpy as np
        >>> from mbert_retrieval import Packed
        >>> packed = Packed(np.array([3, 1, 4, 1, 5]), np.array([0, 2, 2, 5]))
        >>> [sequence.tolist() for sequence in packed]
        [[3, 1], [], [4, 1, 5]]
        >>> packed.lengths.tolist()
        [2, 0, 3]
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        offsets = self.offsets
        for name, array in (("values", self.values), ("offsets", offsets)):
            if not isinstance(array, np.ndarray):
                raise TypeError(
                    f"{name} must be a numpy array, not {type(array).__name__}: "
                    "use Packed.from_sequences for lists"
                )
        if len(offsets) and offsets.dtype.kind not in "iu":
            raise TypeError(f"offsets must be integers, not {offsets.dtype}")
        if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0:
            raise ValueError("offsets must be one-dimensional and start at 0")
        if offsets[-1] != len(self.values) or np.any(np.diff(offsets) < 0):
            raise ValueError(
                f"offsets must rise from 0 to the number of values ({len(self.values)}), "
                f"they end at {offsets[-1]}"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if isinstance(index, slice):
            raise TypeError("a Packed takes one index: use select() for several sequences")
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """The number of values in each sequence, (B,) int64."""
        return np.diff(self.offsets)

    @classmethod
    def from_sequences(
        cls, sequences: Iterable[np.ndarray | Sequence[Any]], dtype: DTypeLike | None = None
    ) -> Packed:
        """Concatenate arrays or lists.

        Args:
            sequences: The sequences, which agree in every dimension but the first.
            dtype: Type of the values; numpy's choice by default.

        Returns:
            One sequence for each of them.

        Example:
            >>> from mbert_retrieval import Packed
            >>> Packed.from_sequences([[3, 1], [], [4, 1, 5]], dtype="int64").offsets.tolist()
            [0, 2, 2, 5]
        """
        arrays = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        if not arrays:
            return cls(np.zeros(0, dtype=dtype or np.float32), np.zeros(1, dtype=np.int64))
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate(arrays), offsets_from_lengths(lengths))

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> Packed:
        """Make every row of an array a sequence of its own, as a dense encoder does.

        Args:
            rows: One vector per sequence, (B, D).

        Returns:
            B sequences of length 1.
        """
        return cls(rows, np.arange(len(rows) + 1, dtype=np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Packed]) -> Packed:
        """Join several Packed, in order.

        Args:
            parts: At least one.

        Returns:
            All of their sequences.
        """
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), offsets_from_lengths(lengths))

    def select(self, indices: np.ndarray | Sequence[int]) -> Packed:
        """Select sequences, in any order and as often as they are named.

        Args:
            indices: Indices of sequences, integers.

        Returns:
            A copy of these sequences.

        Raises:
            TypeError: When the indices are not integers; of a mask, use `np.flatnonzero(mask)`.

        Example:
            >>> from mbert_retrieval import Packed
            >>> packed = Packed.from_sequences([["a"], ["b", "c"]])
            >>> [sequence.tolist() for sequence in packed.select([1, 0, 1])]
            [['b', 'c'], ['a'], ['b', 'c']]
        """
        indices = np.asarray(indices)
        if len(indices) and indices.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, not {indices.dtype}")
        indices = indices.astype(np.int64)
        lengths = self.lengths[indices]
        offsets = offsets_from_lengths(lengths)
        return Packed(self.values[positions(self.offsets[indices], lengths)], offsets)


def offsets_from_lengths(lengths: np.ndarray | Sequence[int]) -> np.ndarray:
    """Convert lengths, (B,), to offsets, (B + 1,) int64."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate the ranges starts[i] .. starts[i] + lengths[i] - 1; (B,) int64 each."""
    offsets = offsets_from_lengths(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
