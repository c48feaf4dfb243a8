"""k-means, and the nearest centroid of a vector.

A vector is not compared with all K centroids: they are grouped around G (about sqrt(K)) leaders,
and only the members of the PROBES groups with the nearest leaders are compared. That takes about
G + PROBES K / G products instead of K, and returns the nearest centroid or one nearly as near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...native import kernels
from ..device import current_device, thread_count

PROBES = 8
EXACT_CENTROIDS = 256  # up to so many, a vector is compared with all
ITERATIONS = 6
PRODUCTS_IN_MEMORY = 2**26  # float32 products of vectors and centroids on a device, 256 MiB


@dataclass(frozen=True)
class Router:
    """Centroids in groups.

    order: (K,) int32, the centroids by group; members: (K, D) float32, `centroids[order]`;
    leaders: (G, D) float32; norms: half of the squared lengths; bounds: (G + 1,) int64, where each
    group begins.
    """

    order: np.ndarray
    members: np.ndarray
    member_norms: np.ndarray
    leaders: np.ndarray
    leader_norms: np.ndarray
    bounds: np.ndarray

    def nearest(self, vectors: np.ndarray) -> np.ndarray:
        """Return (N,) int32, the nearest centroid (Euclidean) of (N, D) float32, or one nearly as
        near. On a device (`device.on_device`), vectors are compared with all centroids."""
        if device := current_device():
            return self.order[_nearest_on_device(vectors, self.members, device)]
        members = kernels.nearest(
            vectors,
            self.leaders,
            self.leader_norms,
            self.members,
            self.member_norms,
            self.bounds,
            min(PROBES, len(self.leaders)),
            thread_count(),
        )
        return self.order[members]


def router(centroids: np.ndarray, seed: int = 0) -> Router:
    """Group (K, D) float32 centroids."""
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
    """Return (K, D) float32 centroids by k-means.

    Euclidean, with Lloyd's iterations from randomly chosen vectors. A centroid that loses all its
    vectors is moved to a randomly chosen one. The same seed gives the same centroids for any number
    of threads.

    Args:
        sample: (N, D) float32, N >= count.
        count: K.
        seed: Of the random choices.
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
    """Return the mean of each centroid's vectors; one without vectors is not moved."""
    sums, counts = np.zeros_like(before), np.zeros(len(before), dtype=np.int64)
    kernels.accumulate(vectors, nearest, sums, counts)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], before).astype(
        np.float32
    )


def _nearest_on_device(vectors: np.ndarray, centroids: np.ndarray, device: str) -> np.ndarray:
    """Return (N,) int32, the nearest of (K, D) float32 centroids for (N, D) float32 vectors."""
    import torch

    members = torch.from_numpy(centroids).to(device)
    half_norms = members.square().sum(1) / 2  # (K,)
    nearest = np.empty(len(vectors), np.int32)
    step = max(1, PRODUCTS_IN_MEMORY // len(centroids))
    for first in range(0, len(vectors), step):
        block = torch.from_numpy(np.array(vectors[first : first + step])).to(device)
        scores = torch.addmm(half_norms, block, members.T, beta=-1)  # (n, K)
        nearest[first : first + step] = scores.argmax(1).cpu().numpy()
    return nearest
