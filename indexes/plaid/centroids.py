"""k-means, and the nearest centroid of a vector.

A vector is not compared with all K centroids: they are grouped around about sqrt(K) leaders, and
the members of the PROBES groups with the nearest leaders are tried. That is some (G + PROBES K / G)
products instead of K, and finds the nearest centroid or one nearly as near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...native import plaid as kernels
from ..device import current_device
from .threads import thread_count

PROBES = 8
EXACT_CENTROIDS = 256  # up to so many, all are tried
ITERATIONS = 6


@dataclass(frozen=True)
class Router:
    """Centroids in groups. members: (K, D) float32, `centroids[order]`; leaders: (G, D) float32;
    norms: half of the squared lengths; bounds: (G + 1,) int64, where each group begins."""

    order: np.ndarray
    members: np.ndarray
    member_norms: np.ndarray
    leaders: np.ndarray
    leader_norms: np.ndarray
    bounds: np.ndarray

    def nearest(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) float32 to (N,) int32: the centroid at the least Euclidean distance, or nearly.

        On a device (`device.on_device`) all are tried."""
        if device := current_device():
            from .torch_kernels import nearest

            return self.order[nearest(vectors, self.members, device)]
        found = kernels.nearest(
            vectors,
            self.leaders,
            self.leader_norms,
            self.members,
            self.member_norms,
            self.bounds,
            min(PROBES, len(self.leaders)),
            thread_count(),
        )
        return self.order[found]


def router(centroids: np.ndarray, seed: int = 0) -> Router:
    """(K, D) float32 centroids made ready for `Router.nearest`."""
    count = len(centroids)
    if count <= EXACT_CENTROIDS:
        return _grouped(centroids, centroids.mean(axis=0, keepdims=True), np.zeros(count, np.int32))
    rng = np.random.default_rng(seed)
    leaders = centroids[rng.choice(count, round(count**0.5), replace=False)]
    for _ in range(3):
        group = _grouped(leaders, leaders[:1], np.zeros(len(leaders), np.int32)).nearest(centroids)
        leaders = _means(centroids, group, leaders)
    return _grouped(centroids, leaders, group)


def cluster(sample: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """k-means (Lloyd's iterations from randomly chosen vectors; Euclidean): (K, D) float32.

    sample: (N, D) float32, N >= count. A centroid that loses all its vectors takes the place of a
    randomly chosen one. The same seed gives the same centroids whatever the number of threads.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[np.sort(rng.choice(len(sample), count, replace=False))]
    for _ in range(ITERATIONS):
        nearest = router(centroids, seed).nearest(sample)
        empty = np.flatnonzero(np.bincount(nearest, minlength=count) == 0)
        centroids = _means(sample, nearest, centroids)
        centroids[empty] = sample[rng.choice(len(sample), len(empty), replace=False)]
    return centroids


def _grouped(centroids: np.ndarray, leaders: np.ndarray, group: np.ndarray) -> Router:
    order = np.argsort(group, kind="stable").astype(np.int32)
    members = np.ascontiguousarray(centroids[order])
    sizes = np.bincount(group, minlength=len(leaders))
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Router(order, members, _half_norms(members), leaders, _half_norms(leaders), bounds)


def _half_norms(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", vectors, vectors) / 2


def _means(vectors: np.ndarray, nearest: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The mean of each centroid's vectors; one without any stays where it was."""
    sums, counts = np.zeros_like(before), np.zeros(len(before), dtype=np.int64)
    kernels.accumulate(vectors, nearest, sums, counts)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], before).astype(
        np.float32
    )
