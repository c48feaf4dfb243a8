"""Kind "flat": exact MaxSim over all vectors of a segment, the sum over a query's vectors of the
highest inner product with any vector of the passage. One vector each makes it the inner product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .arrays import load_packed
from .engine import NO_TUNING, Part, merge_by_vectors
from .manifest import Leg
from .ranking import best

BLOCK_VECTORS = 8192  # passage vectors a matrix product: the products stay in the cache
CHUNK_VECTORS = 512  # query vectors a matrix product
CHUNK_SCORES = 2**25  # float32 scores held at once, 128 MiB
MERGE_PASSAGES = 64  # held at once while merging


def check(leg: Leg) -> None:
    """There is nothing to set."""
    if leg.settings:
        raise InputError(f"an index of kind 'flat' has no {min(leg.settings)} to set: it is exact")


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """Nothing: `vectors.npy` and `offsets.npy` are what is searched."""


def load(folder: Path, passages: int, vectors: int, dimension: int) -> FlatVectors:
    return FlatVectors(load_packed(folder, passages, vectors, dimension))


def merge(folder: Path, leg: Leg, parts: Sequence[Part]) -> None:
    merge_by_vectors(folder, leg, parts, build, MERGE_PASSAGES)


@dataclass(frozen=True)
class FlatVectors:
    """passages: values (N, D) float32, perhaps memory-mapped; none is empty."""

    passages: Packed

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Mapping[str, int] = NO_TUNING
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `engine.Engine.search`, exact, with all that tie with the k-th."""
        places = np.flatnonzero(live)
        results = []
        for first, last in _chunks(queries, max(1, CHUNK_SCORES // max(1, len(places)))):
            offsets = queries.offsets[first : last + 1]
            vectors = queries.values[offsets[0] : offsets[-1]]
            for row in _scores(vectors, offsets[:-1] - offsets[0], self.passages, live):
                top = best(row, k)
                results.append((places[top], row[top]))
        return results

    def read(self, first: int, last: int) -> Packed:
        offsets = self.passages.offsets[first : last + 1]
        return Packed(self.passages.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def facts(self) -> dict[str, Any]:
        return {"engine": "exact"}


def _scores(
    vectors: np.ndarray, starts: np.ndarray, passages: Packed, live: np.ndarray
) -> np.ndarray:
    """(B, live passages) float32 MaxSim of the queries that begin at `starts` of `vectors`."""
    columns = [np.zeros((len(starts), 0), dtype=np.float32)]
    offsets = passages.offsets
    first = 0
    while first < len(passages):
        room = np.searchsorted(offsets, offsets[first] + BLOCK_VECTORS, side="right") - 1
        last = max(first + 1, int(room))
        kept = live[first:last]
        if kept.any():
            block = passages.values[offsets[first] : offsets[last]]
            lengths = np.diff(offsets[first : last + 1])
            if not kept.all():
                block = block[np.repeat(kept, lengths)]
                lengths = lengths[kept]
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
    """Inner products, (N, block vectors). One vector's on this thread alone: those of the BLAS go
    on spinning for a while after, in the way of what runs next, such as the query encoder."""
    if len(vectors) == 1:
        return np.vecdot(block, vectors)[None]
    return vectors @ block.T


def _chunks(queries: Packed, most: int) -> Iterator[tuple[int, int]]:
    """(first, last) runs of at most `most` queries and about CHUNK_VECTORS vectors."""
    first = 0
    while first < len(queries):
        end = queries.offsets[first] + CHUNK_VECTORS
        room = int(np.searchsorted(queries.offsets, end, side="right")) - 1
        last = min(max(first + 1, room), first + most)
        yield first, last
        first = last
