"""Engine "faiss": one vector per passage, scored by inner product, in one FAISS index per segment.

A small segment is searched exactly (with the files of engine "flat"), a larger one as a graph, and
a very large one as inverted lists of compressed vectors: see `faiss_factory.factory_for`. The leg's
setting "factory" names another FAISS index; a segment that is too small to train it stays exact.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BUILD_AGAIN, InputError
from ..packed import Packed
from . import faiss_search, flat
from .arrays import load_array, load_packed
from .engine import (
    DEFAULT_TUNING,
    MergeSource,
    Scored,
    SearchableVectors,
    Tuning,
    merge_by_vectors,
)
from .faiss_factory import check_searchable, factory_for, innermost, load_faiss, new_index
from .manifest import Leg

FILE, FACTORY_FILE = "index.faiss", "factory.txt"
ADD_ROWS = 65_536
TRAIN_ROWS = 262_144
MERGE_ROWS = 65_536
SEED = 20_240_229


def check(leg: Leg) -> None:
    """See `engine.Engine.check`. Setting: "factory", a factory string of FAISS (optional)."""
    if unknown := leg.settings.keys() - {"factory"}:
        raise InputError(f"an index of kind 'faiss' has no {min(unknown)} to set")
    factory = leg.settings.get("factory")
    if factory is not None:
        check_searchable(new_index(leg.encoder.dimension, factory), factory)


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """Replace `vectors.npy` and `offsets.npy` by a FAISS index, or keep them."""
    count = len(np.load(folder / "offsets.npy", allow_pickle=False)) - 1
    rows = load_array(folder / "vectors.npy", np.float32, (count, leg.encoder.dimension))
    factory = leg.settings.get("factory") or factory_for(*rows.shape)
    if factory and _write_index(folder / FILE, rows, factory):
        (folder / FACTORY_FILE).write_text(factory)
        (folder / "vectors.npy").unlink()
        (folder / "offsets.npy").unlink()


def load(folder: Path, passages: int, vectors: int, dimension: int) -> SearchableVectors:
    """See `engine.Engine.load`."""
    file = folder / FILE
    if not file.exists():
        return flat.FlatVectors(load_packed(folder, passages, vectors, dimension))
    faiss = load_faiss()

    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError):
        if not file.exists():  # a writer has removed the segment meanwhile
            raise FileNotFoundError(errno.ENOENT, "removed", str(file)) from None
        raise InputError(f"{file} is damaged: FAISS cannot read it") from None
    if (index.ntotal, index.d) != (passages, dimension):
        raise InputError(f"{file} is damaged: it holds another number of vectors")
    return FaissVectors(index, (folder / FACTORY_FILE).read_text(errors="replace"))


def merge(folder: Path, leg: Leg, sources: Sequence[MergeSource]) -> None:
    """See `engine.Engine.merge`."""
    merge_by_vectors(folder, leg, sources, build, MERGE_ROWS)


@dataclass(frozen=True)
class FaissVectors:
    """index: a FAISS index of inner products, possibly memory-mapped; factory: its name."""

    index: Any
    factory: str

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Tuning = DEFAULT_TUNING
    ) -> list[Scored]:
        """See `engine.SearchableVectors.search`; FAISS decides which of several passages that tie
        with the k-th are returned."""
        with _faiss_errors():
            results = faiss_search.search(self.index, queries.values, live, k, tuning)
        for rows, _ in results:
            if np.any((rows < 0) | (rows >= len(live))):
                raise InputError(f"a FAISS file is damaged: it has unknown ids: {BUILD_AGAIN}")
        return results

    def read(self, first: int, last: int) -> Packed:
        """See `engine.SearchableVectors.read`."""
        with _faiss_errors():
            return Packed.from_rows(self.index.reconstruct_n(first, last - first))

    def facts(self) -> dict[str, Any]:
        """See `engine.SearchableVectors.facts`."""
        return {"engine": self.factory}


@contextmanager
def _faiss_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        raise InputError(f"a FAISS file is damaged: {BUILD_AGAIN}") from None


def _write_index(file: Path, rows: np.ndarray, factory: str) -> bool:
    """Train, fill and write the index. Return False if there are too few rows to train it."""
    faiss = load_faiss()

    index = new_index(rows.shape[1], factory)
    try:
        _train(index, _sample(rows))
    except RuntimeError:
        return False
    for first in range(0, len(rows), ADD_ROWS):
        index.add(rows[first : first + ADD_ROWS])
    with open(file, "wb") as output:  # FAISS's own writer does not report a full disk
        faiss.write_index(index, faiss.PyCallbackIOWriter(output.write))
    return True


def _train(index: Any, rows: np.ndarray) -> None:
    """Train the index; cluster its inverted lists on all GPUs if this FAISS has any."""
    faiss = load_faiss()

    inner = innermost(index)
    if not isinstance(inner, faiss.IndexIVF) or faiss.get_num_gpus() == 0:
        index.train(rows)
        return
    inner.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
    index.train(rows)
    inner.clustering_index = None


def _sample(rows: np.ndarray) -> np.ndarray:
    """Return at most TRAIN_ROWS of (N, D), drawn with a fixed seed."""
    if len(rows) <= TRAIN_ROWS:
        return rows
    chosen = np.random.default_rng(SEED).choice(len(rows), TRAIN_ROWS, replace=False)
    return rows[np.sort(chosen)]
