"""`Packed`: the ragged array that runs from the tokenizer to the disk. Nothing here is padded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packed:
    """Sequences of unequal length laid end to end.

    values: (N, ...) array, any dtype; all sequences concatenated.
    offsets: (B + 1,) int64, rising from 0 to N; sequence i is `values[offsets[i]:offsets[i + 1]]`.
        Flash Attention calls the same thing `cu_seqlens`.

    Raises ValueError when the offsets do not describe the values.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        offsets = self.offsets
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
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """(B,) int64: the number of values in each sequence."""
        return np.diff(self.offsets)

    @classmethod
    def from_sequences(cls, sequences: Iterable[np.ndarray | Sequence], dtype=None) -> Packed:
        """Lay arrays (or lists) end to end. All must agree in every dimension but the first."""
        arrays = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        if not arrays:
            return cls(np.zeros(0, dtype=dtype or np.float32), np.zeros(1, dtype=np.int64))
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate(arrays), offsets_from_lengths(lengths))

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> Packed:
        """(B, D) array: one vector a sequence, which is what a dense encoder makes."""
        return cls(rows, np.arange(len(rows) + 1, dtype=np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Packed]) -> Packed:
        """One Packed of all the sequences of several, in order."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), offsets_from_lengths(lengths))

    def select(self, indices: np.ndarray | Sequence[int]) -> Packed:
        """The sequences at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[indices]
        offsets = offsets_from_lengths(lengths)
        return Packed(self.values[positions(self.offsets[indices], lengths)], offsets)


def offsets_from_lengths(lengths: np.ndarray | Sequence[int]) -> np.ndarray:
    """(B,) lengths to (B + 1,) int64 offsets."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """All of starts[i] + 0 .. starts[i] + lengths[i] - 1, end to end. (B,) each, int64."""
    offsets = offsets_from_lengths(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
