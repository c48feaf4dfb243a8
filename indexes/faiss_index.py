"""Kind "faiss": one vector a passage, scored by inner product, in a FAISS index a segment.

Exact while a segment is small (the files of kind "flat"), then a graph, then inverted lists with
compressed vectors: `factory_for`. The leg's setting "factory" names another index of FAISS's; a
segment that is too small to train it on is exact too.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from . import faiss_search, flat
from .arrays import load_array, load_packed
from .engine import NO_TUNING, Engine, Part, merge_by_vectors
from .manifest import Leg

FILE, FACTORY_FILE = "index.faiss", "factory.txt"
EXACT_BELOW, GRAPH_BELOW = 20_000, 1_000_000
EF_CONSTRUCTION = 200
ADD_ROWS = 65_536
TRAIN_ROWS = 262_144
MERGE_ROWS = 65_536
SEED = 20_240_229


def check(leg: Leg) -> None:
    """Raises InputError for a factory string that FAISS does not take, or that cannot be searched
    under a filter."""
    if unknown := leg.settings.keys() - {"factory"}:
        raise InputError(f"an index of kind 'faiss' has no {min(unknown)} to set")
    factory = leg.settings.get("factory")
    if factory is not None:
        faiss_search.check_kind(_new_index(leg.encoder.dimension, factory), factory)


def factory_for(rows: int, dimension: int) -> str:
    """FAISS's name of the index for a segment of so many vectors; "" for exact search of the
    vectors as they came."""
    if rows < EXACT_BELOW:
        return ""
    if rows < GRAPH_BELOW:
        return "HNSW32,SQfp16"
    lists = 2 ** round(np.log2(4 * np.sqrt(rows)))
    return f"IVF{lists},SQ8"


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """Put a FAISS index in the place of `vectors.npy` and `offsets.npy`, or leave them."""
    count = len(np.load(folder / "offsets.npy", allow_pickle=False)) - 1
    rows = load_array(folder / "vectors.npy", np.float32, (count, leg.encoder.dimension))
    factory = leg.settings.get("factory") or factory_for(*rows.shape)
    if factory and _write_index(folder / FILE, rows, factory):
        (folder / FACTORY_FILE).write_text(factory)
        (folder / "vectors.npy").unlink()
        (folder / "offsets.npy").unlink()


def load(folder: Path, passages: int, vectors: int, dimension: int) -> Engine:
    """The vectors stay in the file. Raises as `engine.Kind.load`."""
    file = folder / FILE
    if not file.exists():
        return flat.FlatVectors(load_packed(folder, passages, vectors, dimension))
    faiss = faiss_search.load_faiss()

    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError):
        if not file.exists():  # a writer has removed the segment meanwhile
            raise FileNotFoundError(errno.ENOENT, "removed", str(file)) from None
        raise InputError(f"{file} is damaged: FAISS cannot read it") from None
    if (index.ntotal, index.d) != (passages, dimension):
        raise InputError(f"{file} is damaged: it holds another number of vectors")
    return FaissVectors(index, (folder / FACTORY_FILE).read_text(errors="replace"))


def merge(folder: Path, leg: Leg, parts: Sequence[Part]) -> None:
    merge_by_vectors(folder, leg, parts, build, MERGE_ROWS)


@dataclass(frozen=True)
class FaissVectors:
    """index: FAISS's, of inner products, perhaps memory-mapped; factory: its name."""

    index: Any
    factory: str

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Mapping[str, int] = NO_TUNING
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `engine.Engine.search`, but which of several that tie with the k-th are returned is
        left to FAISS.

        tuning: "nprobe", lists probed; "candidates", how many the graph keeps, or are scored again.
        """
        return faiss_search.search(self.index, queries.values, live, k, tuning)

    def read(self, first: int, last: int) -> Packed:
        return Packed.from_rows(self.index.reconstruct_n(first, last - first))

    def facts(self) -> dict[str, Any]:
        return {"engine": self.factory}


def _write_index(file: Path, rows: np.ndarray, factory: str) -> bool:
    """Train and fill the index and write it; False when the rows are too few to train on."""
    faiss = faiss_search.load_faiss()

    index = _new_index(rows.shape[1], factory)
    try:
        _train(index, _sample(rows))
    except RuntimeError:
        return False
    for first in range(0, len(rows), ADD_ROWS):
        index.add(rows[first : first + ADD_ROWS])
    with open(file, "wb") as output:  # FAISS's own writer takes no notice of a disk that is full
        faiss.write_index(index, faiss.PyCallbackIOWriter(output.write))
    return True


def _new_index(dimension: int, factory: str) -> Any:
    faiss = faiss_search.load_faiss()

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, TypeError):
        raise InputError(
            f"FAISS has no index {factory!r} for {dimension} dimensions: take one of its "
            "guidelines on the index factory, or leave the choice to the size"
        ) from None
    inner = faiss_search.innermost(index)
    if faiss_search.is_graph(inner):
        inner.hnsw.efConstruction = EF_CONSTRUCTION
    return index


def _train(index: Any, rows: np.ndarray) -> None:
    """Inverted lists are found on all GPUs, where this FAISS has any."""
    faiss = faiss_search.load_faiss()

    inner = faiss_search.innermost(index)
    if not isinstance(inner, faiss.IndexIVF) or faiss.get_num_gpus() == 0:
        index.train(rows)
        return
    inner.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
    index.train(rows)
    inner.clustering_index = None


def _sample(rows: np.ndarray) -> np.ndarray:
    """At most TRAIN_ROWS of (N, D), drawn with a fixed seed."""
    if len(rows) <= TRAIN_ROWS:
        return rows
    chosen = np.random.default_rng(SEED).choice(len(rows), TRAIN_ROWS, replace=False)
    return rows[np.sort(chosen)]
