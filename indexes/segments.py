"""A segment: the vectors of one commit, immutable, in a folder `segments/NNNNNN/`.

keys.npy      (P,) int64   key of each passage in the store, rising
lengths.npy   (L, P) int32   how many vectors each passage has in each leg, in the manifest's order
late/, dense/   a folder of each leg: what its kind of index keeps there
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from . import faiss_index as dense
from . import flat, plaid
from .arrays import load_array
from .confined import check_inside, remove_segments_except
from .durable import sha256_of_file, sync_file, sync_folder
from .engine import Engine, Kind, VectorsWriter
from .manifest import Leg

FOLDER = "segments"
READ_WHOLE = (".json", ".txt")
KINDS: dict[str, Kind] = {"plaid": plaid, "flat": flat, "faiss": dense}


@dataclass(frozen=True)
class SegmentRecord:
    """What the store says of a segment.

    vectors: leg -> how many. files: name -> {"bytes": size, "sha256": hex}, names as
    "late/vectors.npy".
    """

    number: int
    first_key: int
    last_key: int
    passages: int
    vectors: dict[str, int]
    files: dict[str, dict[str, Any]]

    @property
    def folder(self) -> str:
        """Relative to the index."""
        return f"{FOLDER}/{self.number:06d}"


@dataclass(frozen=True)
class Segment:
    """An open segment; its files are mapped, so removing them does not disturb it.

    keys: (P,) int64; engines: leg -> what searches it.
    """

    record: SegmentRecord
    keys: np.ndarray
    engines: dict[str, Engine]


def open_segment(index: Path, record: SegmentRecord, legs: Sequence[Leg]) -> Segment:
    """Raises FileNotFoundError when the folder is gone, InputError naming a file that is not what
    the store says. Sizes and shapes are checked here, and small files whole, because they say what
    the others hold; every byte by `verify`."""
    folder = index / record.folder
    for name, expected in record.files.items():
        check_inside(folder, name)
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise InputError(
                f"{folder / name} is damaged: it has {size} bytes, it was written with "
                f"{expected['bytes']}"
            )
        if name.endswith(READ_WHOLE) and sha256_of_file(folder / name) != expected["sha256"]:
            raise InputError(f"{folder / name} is damaged: it is not what was written")
    keys = load_array(folder / "keys.npy", np.int64, (record.passages,))
    engines = {
        leg.name: KINDS[leg.kind].load(
            folder / leg.name, record.passages, record.vectors[leg.name], leg.encoder.dimension
        )
        for leg in legs
    }
    return Segment(record, keys, engines)


class SegmentWriter:
    """Writes a segment; vectors go to the disk as they come. Nothing counts until the store names
    the record that `finish` returns."""

    def __init__(self, index: Path, number: int, legs: Sequence[Leg]) -> None:
        self.number = number
        self._index, self._legs = index, legs
        self._folder = _folder(index, number)
        self._folder.mkdir()
        self._keys = array("q")
        self._writers: dict[str, VectorsWriter] = {}
        for leg in legs:
            (self._folder / leg.name).mkdir()
            writer = VectorsWriter(self._folder / leg.name, leg.encoder.dimension)
            self._writers[leg.name] = writer

    def append(self, keys: range, vectors: Mapping[str, Packed]) -> None:
        """keys: one a passage, above all before. vectors: of each leg, values (N, D) float32."""
        self._keys.extend(keys)
        for name, writer in self._writers.items():
            writer.append(vectors[name])

    def finish(self, live: Sequence[SegmentRecord]) -> SegmentRecord:
        """Complete the files and force them to the disk. live: the index's other segments, oldest
        first."""
        keys = np.array(self._keys, dtype=np.int64)
        lengths = [self._writers[leg.name].finish() for leg in self._legs]
        for leg in self._legs:
            relatives = [self._index / record.folder / leg.name for record in reversed(live)]
            KINDS[leg.kind].build(self._folder / leg.name, leg, relatives)
        return _sealed(self._folder, self.number, self._legs, keys, np.stack(lengths))

    def discard(self) -> None:
        for writer in self._writers.values():
            writer.discard()
        shutil.rmtree(self._folder, ignore_errors=True)


def merge_segments(
    index: Path, number: int, legs: Sequence[Leg], parts: Sequence[tuple[Segment, np.ndarray]]
) -> SegmentRecord:
    """Write one segment of what is left of several, and force it to the disk.

    parts: segments, rising by key, and of each (P,) bool, which passages to keep; at least one.
    """
    folder = _folder(index, number)
    folder.mkdir()
    try:
        for leg in legs:
            (folder / leg.name).mkdir()
            sources = [
                (index / segment.record.folder / leg.name, segment.engines[leg.name], kept)
                for segment, kept in parts
            ]
            KINDS[leg.kind].merge(folder / leg.name, leg, sources)
        keys = np.concatenate([segment.keys[kept] for segment, kept in parts])
        lengths = [_lengths(index, segment.record, legs)[:, kept] for segment, kept in parts]
        return _sealed(folder, number, legs, keys, np.concatenate(lengths, axis=1))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def remove_unnamed(index: Path, named: set[int]) -> None:
    """Remove segment folders that the store does not name: what a crash or a drop left."""
    remove_segments_except(index / FOLDER, named)


def _folder(index: Path, number: int) -> Path:
    return index / FOLDER / f"{number:06d}"


def _lengths(index: Path, record: SegmentRecord, legs: Sequence[Leg]) -> np.ndarray:
    file = index / record.folder / "lengths.npy"
    return load_array(file, np.int32, (len(legs), record.passages))


def _sealed(
    folder: Path, number: int, legs: Sequence[Leg], keys: np.ndarray, lengths: np.ndarray
) -> SegmentRecord:
    """Force the legs' files and these arrays to the disk. keys: (P,); lengths: (L, P)."""
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
    vectors = {leg.name: total for leg, total in zip(legs, totals, strict=True)}
    return SegmentRecord(number, int(keys[0]), int(keys[-1]), len(keys), vectors, files)
