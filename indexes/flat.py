"""Engine "flat": exact MaxSim over all vectors of a segment.

MaxSim (Khattab and Zaharia 2020, "ColBERT") is the sum, over a query's vectors, of the highest
inner product with any vector of the passage. With one vector each it is the inner product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .arrays import load_packed
from .engine import DEFAULT_TUNING, MergeSource, Scored, Tuning, merge_by_vectors, top_k
from .manifest import Leg

BLOCK_VECTORS = 8192  # passage vectors per matrix product, so that the products fit the cache
CHUNK_VECTORS = 512  # query vectors per matrix product
CHUNK_SCORES = 2**25  # float32 scores in memory, 128 MiB
MERGE_PASSAGES = 64  # passages in memory while merging


def check(leg: Leg) -> None:
    """Raise InputError if the leg has settings: this engine has none."""
    if leg.settings:
        raise InputError(
            f"an index of kind 'flat' has no {min(leg.settings)} to set, because it is exact"
        )


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """Do nothing: `vectors.npy` and `offsets.npy` are what is searched."""


def load(folder: Path, passages: int, vectors: int, dimension: int) -> FlatVectors:
    """See `engine.Engine.load`."""
    return FlatVectors(load_packed(folder, passages, vectors, dimension))


def merge(folder: Path, leg: Leg, sources: Sequence[MergeSource]) -> None:
    """See `engine.Engine.merge`."""
    merge_by_vectors(folder, leg, sources, build, MERGE_PASSAGES)


@dataclass(frozen=True)
class FlatVectors:
    """passages: values (N, D) float32, possibly memory-mapped; no passage is empty."""

    passages: Packed

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Tuning = DEFAULT_TUNING
    ) -> list[Scored]:
        """See `engine.SearchableVectors.search`; exact, with all that tie with the k-th."""
        rows = np.flatnonzero(live)
        results = []
        for first, last in _chunks(queries, max(1, CHUNK_SCORES // max(1, len(rows)))):
            offsets = queries.offsets[first : last + 1]
            vectors = queries.values[offsets[0] : offsets[-1]]
            for scores in _scores(vectors, offsets[:-1] - offsets[0], self.passages, live):
                top = top_k(scores, k)
                results.append((rows[top], scores[top]))
        return results

    def read(self, first: int, last: int) -> Packed:
        """See `engine.SearchableVectors.read`."""
        offsets = self.passages.offsets[first : last + 1]
        return Packed(self.passages.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def facts(self) -> dict[str, Any]:
        """See `engine.SearchableVectors.facts`."""
        return {"engine": "exact"}


def _scores(
    vectors: np.ndarray, starts: np.ndarray, passages: Packed, live: np.ndarray
) -> np.ndarray:
    """Return (B, live passages) float32 MaxSim of the queries that begin at `starts` of
    `vectors`."""
    columns = [np.zeros((len(starts), 0), dtype=np.float32)]
    offsets = passages.offsets
    first = 0
    while first < len(passages):
        end = np.searchsorted(offsets, offsets[first] + BLOCK_VECTORS, side="right") - 1
        last = max(first + 1, int(end))
        live_here = live[first:last]
        if live_here.any():
            block = passages.values[offsets[first] : offsets[last]]
            lengths = np.diff(offsets[first : last + 1])
            if not live_here.all():
                block = block[np.repeat(live_here, lengths)]
                lengths = lengths[live_here]
            products = _products(vectors, block)  # (Nq, block vectors)
            ends = np.cumsum(lengths)
            if ends[-1] > len(ends):
                products = np.maximum.reduceat(products, ends - lengths, axis=1)
            if len(products) > len(starts):
                products = np.add.reduceat(products, starts, axis=0)
            columns.append(products)
        first = last
    return np.concatenate(columns, axis=1)


def _products(vectors: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return inner products (N, block vectors).

    Those of a single vector are computed on this thread alone: BLAS threads would keep spinning
    for a while afterwards and slow down what runs next, such as the query encoder.
    """
    if len(vectors) == 1:
        return np.vecdot(block, vectors)[None]
    return vectors @ block.T


def _chunks(queries: Packed, most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of at most `most` queries and about CHUNK_VECTORS vectors."""
    first = 0
    while first < len(queries):
        limit = queries.offsets[first] + CHUNK_VECTORS
        end = int(np.searchsorted(queries.offsets, limit, side="right")) - 1
        last = min(max(first + 1, end), first + most)
        yield first, last
        first = last
