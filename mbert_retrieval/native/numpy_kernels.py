"""The kernels in numpy, for platforms without the compiled ones: the same results, slower.

Attention and products in int8 are missing: torch takes their work where these kernels are in use.
Arrays and arguments are those of kernels.pyi.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

TIER = TIERS = "numpy"
INT8_IS_FAST = ATTENTION_IS_FAST = False
VECTORS_IN_MEMORY = 2**18  # whose scores by centroids are computed together


def nearest(
    vectors: np.ndarray,
    leaders: np.ndarray,
    leader_norms: np.ndarray,
    members: np.ndarray,
    member_norms: np.ndarray,
    bounds: np.ndarray,
    probes: int,
    threads: int,
) -> np.ndarray:
    """Return (N,) int32, the nearest of all members; the groups only save the others time."""
    result = np.empty(len(vectors), np.int32)
    step = max(1, 2**24 // max(1, len(members)))
    for first in range(0, len(vectors), step):
        scores = vectors[first : first + step] @ members.T
        scores -= member_norms
        result[first : first + step] = scores.argmax(1)
    return result


def accumulate(
    vectors: np.ndarray, codes: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Add each vector to the sum of its code, and 1 to the count."""
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    if len(present):
        sums[present] += np.add.reduceat(vectors[order], starts)
    counts += np.bincount(codes, minlength=len(counts))


def pack(
    vectors: np.ndarray,
    codes: np.ndarray,
    centroids: np.ndarray,
    inverse_scale: np.ndarray,
    cutoffs: np.ndarray,
    bits: int,
    threads: int,
) -> np.ndarray:
    """Return (N, ceil(D bits / 8)) uint8, the bucket numbers of the residuals in planes."""
    count, dimension = vectors.shape
    width = -(-dimension * bits // 8)
    residuals = (vectors - centroids[codes]) * inverse_scale
    numbers = np.zeros((count, width * (8 // bits)), np.uint8)
    numbers[:, :dimension] = np.searchsorted(cutoffs, residuals.ravel()).reshape(residuals.shape)
    planes = numbers.reshape(count, 8 // bits, width) << (bits * np.arange(8 // bits))[:, None]
    return np.bitwise_or.reduce(planes.astype(np.uint8), axis=1)


def unpack(
    codes: np.ndarray,
    residuals: np.ndarray,
    centroids: np.ndarray,
    scale: np.ndarray,
    weights: np.ndarray,
    bits: int,
) -> np.ndarray:
    """Return (N, D) float32, the inverse of `pack` but for what the buckets round off."""
    shifts = (bits * np.arange(8 // bits))[:, None]
    numbers = (residuals[:, None] >> shifts) & (2**bits - 1)  # (N, planes, bytes)
    values = weights[numbers.reshape(len(residuals), -1)[:, : centroids.shape[1]]]
    nearest = centroids[np.minimum(codes, len(centroids) - 1)]
    return (nearest + scale * values).astype(np.float32)


def invert(codes: np.ndarray, offsets: np.ndarray, centroids: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (K + 1,) bounds and the passages of each centroid, increasing, each once."""
    lengths = np.diff(offsets)
    passages = len(lengths)
    of = np.minimum(codes.astype(np.int64), centroids - 1)
    pairs = np.unique(of * max(1, passages) + np.repeat(np.arange(passages), lengths))
    counts = np.bincount(pairs // max(1, passages), minlength=centroids)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return bounds, (pairs % max(1, passages)).astype(np.uint32)


@dataclass(frozen=True)
class Segment:
    """The arrays of a segment, as `search` takes them."""

    offsets: np.ndarray
    codes: np.ndarray
    residuals: np.ndarray
    list_bounds: np.ndarray
    lists: np.ndarray
    centroids: np.ndarray
    scale: np.ndarray
    buckets: np.ndarray
    bucket_step: float
    bits: int


segment = Segment


@dataclass(frozen=True)
class SearchSettings:
    """How a search goes."""

    k: int
    probes: int
    candidates: int
    threads: int


def search(
    queries: np.ndarray,
    query_offsets: np.ndarray,
    segment: Segment,
    allowed: np.ndarray,
    settings: SearchSettings,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, Any]]:
    """Return (passages, scores) of each query: the best by centroids alone, scored in full."""
    live = np.flatnonzero(allowed)
    results, scored, read = [], 0, 0
    for first, last in pairwise(query_offsets):
        query = queries[first:last]
        chosen = live
        if len(live) > settings.candidates:
            rough = _scores_by_centroids(segment, query)[live]
            best = np.argpartition(-rough, settings.candidates - 1)[: settings.candidates]
            chosen = np.sort(live[best])
        scores = _scores(segment, query, chosen)
        top = np.argsort(-scores, kind="stable")[: settings.k]
        results.append((chosen[top].astype(np.int64), scores[top]))
        scored += len(chosen)
        read += int(np.diff(segment.offsets)[chosen].sum())
    work = {
        "seconds": {},
        "centroids_probed": 0,
        "passages_reached": scored,
        "passages_scored": scored,
        "vectors_by_centroid": 0,
        "vectors_by_residual": read,
    }
    return results, work


def _scores_by_centroids(segment: Segment, query: np.ndarray) -> np.ndarray:
    """Return (P,) MaxSim of the passages' centroids."""
    table = segment.centroids @ query.T  # (K, rows)
    offsets, last = segment.offsets, len(segment.centroids) - 1
    result = np.empty(len(offsets) - 1, np.float32)
    for first, end in _runs(offsets):
        codes = np.minimum(segment.codes[offsets[first] : offsets[end]], last)
        starts = offsets[first:end] - offsets[first]
        result[first:end] = np.maximum.reduceat(table[codes], starts, axis=0).sum(1)
    return result


def _scores(segment: Segment, query: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Return the MaxSim of some passages' vectors as they are stored."""
    weights = segment.buckets[: 2**segment.bits].astype(np.float32) * np.float32(
        segment.bucket_step
    )
    lengths = np.diff(segment.offsets)[passages]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    result = np.empty(len(passages), np.float32)
    for first, last in _runs(ends):
        some = passages[first:last]
        starts = ends[first:last] - ends[first]
        rows = np.repeat(segment.offsets[some] - starts, lengths[first:last]) + np.arange(
            ends[last] - ends[first]
        )
        vectors = unpack(
            segment.codes[rows], segment.residuals[rows], segment.centroids, segment.scale,
            weights, segment.bits,
        )  # fmt: skip
        result[first:last] = np.maximum.reduceat(vectors @ query.T, starts, axis=0).sum(1)
    return result


def _runs(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, last) of runs of passages with about VECTORS_IN_MEMORY vectors."""
    runs, first = [], 0
    while first < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[first] + VECTORS_IN_MEMORY, side="right")) - 1
        last = max(first + 1, end)
        runs.append((first, last))
        first = last
    return runs
