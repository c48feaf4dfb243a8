"""What a kind of vector index offers (its module is a `Kind`), and what the kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..packed import Packed, offsets_from_lengths
from .manifest import Leg

NO_TUNING: Mapping[str, int] = {}


class Engine(Protocol):
    """The vectors of a segment's passages, of which there are P, numbered from 0."""

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Mapping[str, int] = NO_TUNING
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each query places (int64) and scores (float32) of the k best live passages, in no
        order; fewer only when fewer are live, more where they tie with the k-th.

        queries: values (Nq, D) float32; none is empty. live: (P,) bool; others are not scored.
        tuning: "nprobe", "candidates"; what a kind does not know it ignores.
        """

    def read(self, first: int, last: int) -> Packed:
        """The vectors (float32) of passages first..last - 1; where a kind is lossy, as it
        remembers them."""

    def facts(self) -> dict[str, Any]:
        """JSON: how the vectors are kept, under "engine" in a word."""


Part = tuple[Path, Engine, np.ndarray]


class Kind(Protocol):
    """A module with these functions. Folders hold files only and belong to one leg of a segment."""

    def check(self, leg: Leg) -> None:
        """Raises InputError when the leg's settings make no sense; called before all else."""

    def build(self, folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
        """Replace `vectors.npy` (N, D) float32 and `offsets.npy` (P + 1,) int64 by files of the
        kind's own, or leave them. relatives: folders of the leg's live segments, newest first."""

    def load(self, folder: Path, passages: int, vectors: int, dimension: int) -> Engine:
        """Opens at once and reads what it must: files are memory-mapped. Raises FileNotFoundError,
        and InputError naming a damaged file."""

    def merge(self, folder: Path, leg: Leg, parts: Sequence[Part]) -> None:
        """Write into the empty `folder` the passages of several segments, in order.

        parts: of each segment its folder, its engine, and (P,) bool which passages to keep."""


class VectorsWriter:
    """Writes `vectors.npy` and `offsets.npy`; vectors go to the disk as they come."""

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
        """vectors: values (N, D) float32."""
        self._lengths.append(vectors.lengths)
        self._file.write(np.ascontiguousarray(vectors.values, dtype="<f4").data)

    def finish(self) -> np.ndarray:
        """Complete and close the files. Returns (P,) int64, the lengths."""
        lengths = np.concatenate(self._lengths)
        self._file.seek(0)
        self._write_header(int(lengths.sum()))
        self._file.close()
        offsets = offsets_from_lengths(lengths)
        np.save(self._folder / "offsets.npy", offsets, allow_pickle=False)
        return lengths

    def discard(self) -> None:
        """Close the files as they are."""
        with suppress(OSError):  # the last bytes may not fit on the disk
            self._file.close()


def merge_by_vectors(
    folder: Path,
    leg: Leg,
    parts: Sequence[Part],
    build: Callable[[Path, Leg, Sequence[Path]], None],
    step: int,
) -> None:
    """`Kind.merge` for any kind: read the vectors, `step` passages at a time, and build anew."""
    writer = VectorsWriter(folder, leg.encoder.dimension)
    try:
        for _, engine, live in parts:
            for first in range(0, len(live), step):
                kept = np.flatnonzero(live[first : first + step])
                if kept.size:
                    last = first + int(kept[-1]) + 1
                    writer.append(engine.read(first, last).select(kept))
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    build(folder, leg, [path for path, _, _ in reversed(parts)])
