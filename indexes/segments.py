"""A segment: the vectors of one commit, immutable, in a folder `segments/NNNNNN/`.

keys.npy      (P,) int64   key of each passage in the store, rising
vectors.npy   (N, D) float32   kind "flat"; kept as they came, so that a search is exact
offsets.npy   (P + 1,) int64   kind "flat"; where each passage's vectors begin
index.faiss   kind "faiss"
"""

from __future__ import annotations

import shutil
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..packed import Packed, offsets_from_lengths
from . import dense, flat
from .arrays import load_array
from .durable import sha256_of_file, sync_file, sync_folder
from .manifest import Manifest

FOLDER = "segments"
KINDS = {"flat": flat, "faiss": dense}


@dataclass(frozen=True)
class SegmentRecord:
    """What the store says of a segment. files: name -> {"bytes": size, "sha256": hex}."""

    number: int
    first_key: int
    last_key: int
    passages: int
    vectors: int
    files: dict[str, dict[str, Any]]

    @property
    def folder(self) -> str:
        """Relative to the index."""
        return f"{FOLDER}/{self.number:06d}"


class Engine(Protocol):
    """What searches a segment; see `flat.FlatVectors.search`."""

    def search(
        self, queries: Packed, live: np.ndarray, k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True)
class Segment:
    """An open segment; its files are mapped, so removing them does not disturb it.

    keys: (P,) int64.
    """

    record: SegmentRecord
    keys: np.ndarray
    engine: Engine


def open_segment(index: Path, record: SegmentRecord, manifest: Manifest) -> Segment:
    """Raises FileNotFoundError when the folder is gone, InputError naming a file that is not what
    the store says. Sizes and shapes are checked here, every byte by `verify`."""
    assert manifest.encoder is not None
    assert manifest.kind is not None
    folder = index / record.folder
    for name, expected in record.files.items():
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise InputError(
                f"{folder / name} is damaged: it has {size} bytes, it was written with "
                f"{expected['bytes']}"
            )
    keys = load_array(folder / "keys.npy", np.int64, (record.passages,))
    load = KINDS[manifest.kind].load
    engine = load(folder, record.passages, record.vectors, manifest.encoder.dimension)
    return Segment(record, keys, engine)


class SegmentWriter:
    """Writes a segment; vectors go to the disk as they come. Nothing counts until the store names
    the record that `finish` returns."""

    def __init__(self, index: Path, number: int, manifest: Manifest) -> None:
        assert manifest.encoder is not None
        assert manifest.kind is not None
        self.number = number
        self._build = KINDS[manifest.kind].build
        self._dimension = manifest.encoder.dimension
        self._folder = index / FOLDER / f"{number:06d}"
        self._folder.mkdir()
        self._keys, self._lengths = array("q"), array("q")
        self._file = open(self._folder / "vectors.npy", "wb")  # noqa: SIM115
        self._write_header(0)

    def _write_header(self, rows: int) -> None:
        # numpy pads the header so that the first dimension can grow in place
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dimension)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, keys: range, vectors: Packed) -> None:
        """keys: one a passage, above all before. vectors: values (N, D) float32."""
        self._keys.extend(keys)
        self._lengths.extend(vectors.lengths.tolist())
        self._file.write(np.ascontiguousarray(vectors.values, dtype="<f4").data)

    def finish(self) -> SegmentRecord:
        """Complete the files and force them to the disk."""
        lengths = np.array(self._lengths, dtype=np.int64)
        keys = np.array(self._keys, dtype=np.int64)
        total = int(lengths.sum())
        self._file.seek(0)
        self._write_header(total)
        self._file.close()
        for name, array_ in (("keys", keys), ("offsets", offsets_from_lengths(lengths))):
            np.save(self._folder / f"{name}.npy", array_, allow_pickle=False)
        self._build(self._folder, len(keys), total, self._dimension)
        files = {}
        for file in sorted(self._folder.iterdir()):
            sync_file(file)
            files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        return SegmentRecord(self.number, int(keys[0]), int(keys[-1]), len(keys), total, files)

    def discard(self) -> None:
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def remove_unnamed(index: Path, named: set[int]) -> None:
    """Remove segment folders that the store does not name: what a crash or a drop left."""
    for folder in (index / FOLDER).iterdir():
        if not (folder.name.isdigit() and int(folder.name) in named):
            shutil.rmtree(folder, ignore_errors=True)
