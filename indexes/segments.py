"""A segment: the vectors of one commit, immutable, in a folder `segments/NNNNNN/`.

keys.npy      (P,) int64    key of each passage in the store, increasing
lengths.npy   (L, P) int32  number of vectors per leg, in the order of the manifest, and passage
late/, dense/               a folder per leg, with the files of its engine
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import sha256_of_file, sync_file, sync_folder
from ..packed import Packed
from . import faiss_engine, flat, plaid
from .arrays import load_array
from .confined import (
    check_inside,
    check_regular_below,
    make_segment_folder,
    remove_segment,
    remove_segments_except,
)
from .engine import Engine, MergeSource, SearchableVectors, VectorsWriter
from .manifest import FILE as MANIFEST_FILE
from .manifest import Leg

FOLDER = "segments"
HASHED_ON_OPENING = (".json", ".txt")
MAX_HASHED_BYTES = 2**20
ENGINE_MODULES: dict[str, Engine] = {"plaid": plaid, "flat": flat, "faiss": faiss_engine}


@dataclass(frozen=True)
class SegmentRecord:
    """What the store records of a segment.

    vector_counts: leg -> number of vectors. files: name -> {"bytes": size, "sha256": hex}, with
    names such as "late/vectors.npy".
    """

    number: int
    first_key: int
    last_key: int
    passages: int
    vector_counts: dict[str, int]
    files: dict[str, dict[str, Any]]

    @property
    def folder(self) -> str:
        """Relative to the index."""
        return f"{FOLDER}/{self.number:06d}"


@dataclass(frozen=True)
class Segment:
    """An open segment. Its files are mapped, so removing them does not affect it.

    keys: (P,) int64; vectors: leg -> its vectors, ready for searching.
    """

    record: SegmentRecord
    keys: np.ndarray
    vectors: dict[str, SearchableVectors]


def open_segment(index: Path, record: SegmentRecord, legs: Sequence[Leg]) -> Segment:
    """Open a segment.

    Checks the sizes and shapes of files, and the hashes of small files, which describe the others.
    `verify` reads every byte.

    Raises:
        FileNotFoundError: If the folder is gone.
        InputError: If a file is not what the store records; it is named.
    """
    folder = index / record.folder
    check_regular_below(
        folder, depth=2
    )  # also what the store does not record, which an engine may open
    for name, expected in record.files.items():
        check_inside(folder, name)
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise InputError(
                f"{folder / name} is damaged: it has {size} bytes, it was written with "
                f"{expected['bytes']}"
            )
        if not name.endswith(HASHED_ON_OPENING):
            continue
        if size > MAX_HASHED_BYTES:
            raise InputError(f"{folder / name} is damaged: it is too large")
        if sha256_of_file(folder / name) != expected["sha256"]:
            raise InputError(f"{folder / name} is damaged: it is not what was written")
    keys = load_array(folder / "keys.npy", np.int64, (record.passages,))
    if record.passages == 0 or (keys[0], keys[-1]) != (record.first_key, record.last_key):
        raise InputError(f"{folder / 'keys.npy'} is damaged: its keys are not those of the segment")
    if record.vector_counts.keys() != {leg.name for leg in legs}:
        raise InputError(f"{folder} is damaged: it has not the vectors that {MANIFEST_FILE} names")
    vectors = {
        leg.name: ENGINE_MODULES[leg.engine].load(
            folder / leg.name,
            record.passages,
            record.vector_counts[leg.name],
            leg.encoder.dimension,
        )
        for leg in legs
    }
    return Segment(record, keys, vectors)


class SegmentWriter:
    """Writes a segment, streaming vectors to the disk. It takes effect only when the store
    records what `finish` returns."""

    def __init__(self, index: Path, number: int, legs: Sequence[Leg]) -> None:
        self.number = number
        self._index, self._legs = index, legs
        self._folder = _new_folder(index, number)
        self._keys = array("q")
        self._writers: dict[str, VectorsWriter] = {}
        for leg in legs:
            (self._folder / leg.name).mkdir()
            writer = VectorsWriter(self._folder / leg.name, leg.encoder.dimension)
            self._writers[leg.name] = writer

    def append(self, keys: range, vectors: Mapping[str, Packed]) -> None:
        """Append passages: their keys, above all before, and per leg their vectors (float32)."""
        self._keys.extend(keys)
        for name, writer in self._writers.items():
            writer.append(vectors[name])

    def finish(self, live: Sequence[SegmentRecord]) -> SegmentRecord:
        """Complete the files and force them to the disk. live: the other segments of the index,
        oldest first."""
        keys = np.array(self._keys, dtype=np.int64)
        lengths = [self._writers[leg.name].finish() for leg in self._legs]
        for leg in self._legs:
            relatives = [self._index / record.folder / leg.name for record in reversed(live)]
            ENGINE_MODULES[leg.engine].build(self._folder / leg.name, leg, relatives)
        return _seal(self._folder, self.number, self._legs, keys, np.stack(lengths))

    def discard(self) -> None:
        """Remove the unfinished segment."""
        for writer in self._writers.values():
            writer.discard()
        remove_segment(self._folder.parent, self._folder.name)


def merge_segments(
    index: Path, number: int, legs: Sequence[Leg], sources: Sequence[tuple[Segment, np.ndarray]]
) -> SegmentRecord:
    """Write one segment with the live passages of several, and force it to the disk.

    Args:
        index: The folder of the index.
        number: The number of the new segment.
        legs: The legs of the index.
        sources: Segments, increasing by key, each with (P,) bool: which passages to copy.
    """
    folder = _new_folder(index, number)
    try:
        for leg in legs:
            (folder / leg.name).mkdir()
            of_leg = [
                MergeSource(
                    index / segment.record.folder / leg.name, segment.vectors[leg.name], live
                )
                for segment, live in sources
            ]
            ENGINE_MODULES[leg.engine].merge(folder / leg.name, leg, of_leg)
        keys = np.concatenate([segment.keys[live] for segment, live in sources])
        lengths = [_lengths(index, segment.record, legs)[:, live] for segment, live in sources]
        return _seal(folder, number, legs, keys, np.concatenate(lengths, axis=1))
    except BaseException:
        remove_segment(folder.parent, folder.name)
        raise


def remove_unnamed(index: Path, named: set[int]) -> None:
    """Remove segment folders that the store does not name, left by a crash or a merge."""
    remove_segments_except(index / FOLDER, named)


def _new_folder(index: Path, number: int) -> Path:
    return make_segment_folder(index / FOLDER, f"{number:06d}")


def _lengths(index: Path, record: SegmentRecord, legs: Sequence[Leg]) -> np.ndarray:
    file = index / record.folder / "lengths.npy"
    return load_array(file, np.int32, (len(legs), record.passages))


def _seal(
    folder: Path, number: int, legs: Sequence[Leg], keys: np.ndarray, lengths: np.ndarray
) -> SegmentRecord:
    """Force the files of the legs and these arrays to the disk. keys: (P,); lengths: (L, P)."""
    np.save(folder / "keys.npy", keys, allow_pickle=False)
    np.save(folder / "lengths.npy", lengths.astype(np.int32), allow_pickle=False)
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        sync_file(path)
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    sync_folder(folder)
    sync_folder(folder.parent)
    totals = lengths.sum(axis=1, dtype=np.int64).tolist()
    counts = {leg.name: total for leg, total in zip(legs, totals, strict=True)}
    return SegmentRecord(number, int(keys[0]), int(keys[-1]), len(keys), counts, files)
