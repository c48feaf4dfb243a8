"""Engines: what an engine must offer, and what the engines share.

An engine stores and searches the vectors of one leg, segment by segment. Each one is a module with
the functions of `Engine` ("plaid", "faiss", "flat"; see `segments.ENGINES`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import BUILD_AGAIN, InputError
from ..packed import Packed, offsets_from_lengths
from .manifest import Leg

NO_TUNING: Mapping[str, int] = MappingProxyType({})

# rows of passages in their segment (int64) and their scores (float32), in no order
Scored = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuning:
    """How thoroughly an approximate engine searches. An exact engine ignores it.

    Args:
        nprobe: Inverted lists to search: per query vector (plaid) or per query (faiss with an IVF
            index). None: chosen by the engine.
        candidates: Passages to score precisely (plaid), or candidates to keep while walking a graph
            or before rescoring (faiss). None: chosen by the engine.
    """

    nprobe: int | None = None
    candidates: int | None = None

    @classmethod
    def parse(cls, options: Mapping[str, int]) -> Tuning:
        """Return the options of a mapping such as `{"nprobe": 16}`.

        Raises:
            TypeError: If `options` is not a mapping.
            InputError: If a name is unknown, or a value is not an integer of at least 1.
        """
        if not isinstance(options, Mapping):
            raise TypeError(f"tuning must be a mapping, not {type(options).__name__}")
        names = [field.name for field in fields(cls)]
        if unknown := [name for name in options if name not in names]:
            raise InputError(
                f"unknown tuning option {unknown[0]!r}: use {' or '.join(map(repr, names))}"
            )
        return cls(**{name: _check_positive(name, value) for name, value in options.items()})


DEFAULT_TUNING = Tuning()


def _check_positive(name: str, value: Any) -> int:
    try:
        number = index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{name} must be an integer of at least 1, not {value!r}")
    return number


class SearchableVectors(Protocol):
    """The vectors of one leg in one segment of P passages, open for searching."""

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Tuning = DEFAULT_TUNING
    ) -> list[Scored]:
        """Return the k best live passages per query.

        Args:
            queries: Values (Nq, D) float32; no query is empty.
            live: (P,) bool; passages with False are not scored.
            k: At least 1. Fewer are returned only if fewer are live, and more if they tie with
                the k-th.
            tuning: How thoroughly to search.

        Returns:
            Per query, rows (int64) and scores (float32) in no particular order.
        """

    def read(self, first: int, last: int) -> Packed:
        """Return the vectors (float32) of passages first..last - 1, decompressed if necessary."""

    def facts(self) -> dict[str, Any]:
        """Return JSON that describes how the vectors are stored, with the method in "engine"."""


class MergeSource(NamedTuple):
    """One of several segments to merge: its folder, its vectors, and (P,) bool: which to copy."""

    folder: Path
    vectors: SearchableVectors
    live: np.ndarray


class Engine(Protocol):
    """A module with these functions. Each folder belongs to one leg of one segment."""

    def check(self, leg: Leg) -> None:
        """Raise InputError if the leg's settings are invalid. Called before anything is built."""

    def build(self, folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
        """Replace `vectors.npy` (N, D) float32 and `offsets.npy` (P + 1,) int64 by the engine's
        own files, or keep them. relatives: folders of the leg's live segments, newest first."""

    def load(self, folder: Path, passages: int, vectors: int, dimension: int) -> SearchableVectors:
        """Open the files, memory-mapped. Raises FileNotFoundError, and InputError naming a damaged
        file."""

    def merge(self, folder: Path, leg: Leg, sources: Sequence[MergeSource]) -> None:
        """Write the live passages of several segments, in order, into the empty `folder`."""


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the rows of the k highest of (N,) scores and of all that equal the k-th, in no order.

    The caller, who knows the ids, sorts by (score, id) and cuts to k, so that ties are decided the
    same way every time.

    Raises InputError where a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        raise InputError(
            f"the vectors are damaged or too large: a score is no number: {BUILD_AGAIN}"
        )
    if k >= len(scores):
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth)


class VectorsWriter:
    """Writes `vectors.npy` and `offsets.npy`, streaming vectors to the disk."""

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder, self._dimension = folder, dimension
        self._lengths: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._file = open(folder / "vectors.npy", "wb")  # noqa: SIM115
        self._write_header(0)

    def _write_header(self, rows: int) -> None:
        # numpy pads the header so that the first dimension can grow in place
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dimension)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, vectors: Packed) -> None:
        """Append the vectors of further passages: values (N, D) float32."""
        self._lengths.append(vectors.lengths)
        self._file.write(np.ascontiguousarray(vectors.values, dtype="<f4").data)

    def finish(self) -> np.ndarray:
        """Complete and close the files. Return (P,) int64, the number of vectors per passage."""
        lengths = np.concatenate(self._lengths)
        self._file.seek(0)
        self._write_header(int(lengths.sum()))
        self._file.close()
        offsets = offsets_from_lengths(lengths)
        np.save(self._folder / "offsets.npy", offsets, allow_pickle=False)
        return lengths

    def discard(self) -> None:
        """Close the files, which are then incomplete."""
        with suppress(OSError):  # the last bytes may not fit on the disk
            self._file.close()


def merge_by_vectors(
    folder: Path,
    leg: Leg,
    sources: Sequence[MergeSource],
    build: Callable[[Path, Leg, Sequence[Path]], None],
    step: int,
) -> None:
    """Implement `Engine.merge` for any engine: read the vectors, `step` passages at a time, and
    build anew."""
    writer = VectorsWriter(folder, leg.encoder.dimension)
    try:
        for source in sources:
            for first in range(0, len(source.live), step):
                rows = np.flatnonzero(source.live[first : first + step])
                if rows.size:
                    last = first + int(rows[-1]) + 1
                    writer.append(source.vectors.read(first, last).select(rows))
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    build(folder, leg, [source.folder for source in reversed(sources)])
